//! Events of a study in progress.

use std::cell::RefCell;

use crate::TrainEvent;

/// An event of [`StudyPlan::measure`](super::StudyPlan::measure) and [`Finetunes::train`](super::Finetunes::train).
#[derive(Debug)]
#[non_exhaustive]
pub enum StudyEvent {
    /// Rows without an answer, or longer than a model's context, were left out.
    RowsLeftOut {
        /// How many.
        rows: usize,
    },
    /// A base is measured next.
    Base {
        /// Its short name.
        name: String,
        /// Questions read or answered, over all settings.
        total: usize,
    },
    /// Questions of the current base that were read or answered so far.
    Progress {
        /// The current work.
        what: String,
        /// Questions done, over all settings.
        done: usize,
    },
    /// The current base is measured.
    BaseMeasured,
    /// A base is fine-tuned next.
    FineTuning {
        /// Its short name.
        base: String,
        /// The seed.
        seed: u64,
        /// The configuration of the run.
        config: Box<ivl_train::TrainConfig>,
    },
    /// From the fine-tuning of a base.
    Training(TrainEvent),
}

/// Hands the events of a study to the listener.
pub(super) struct StudyReporter<'a>(RefCell<Box<dyn FnMut(StudyEvent) + 'a>>);

impl<'a> StudyReporter<'a> {
    pub(super) fn new(on_event: impl FnMut(StudyEvent) + 'a) -> Self {
        Self(RefCell::new(Box::new(on_event)))
    }

    pub(super) fn report(&self, event: StudyEvent) {
        (self.0.borrow_mut())(event);
    }
}
