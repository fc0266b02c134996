//! Events of a training run.

use std::cell::RefCell;

use ivl_train::{Event, SourceReport};

/// An event of [`train`](fn@crate::train).
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainEvent {
    /// Rows that were tokenized so far; `done` is set once at the end.
    Tokenizing {
        /// Rows.
        rows: u64,
        /// Whether these are all.
        done: bool,
    },
    /// Demonstrations were tokenized.
    Tokenized {
        /// `data.train` or `data.eval`.
        setting: &'static str,
        /// Counts of the rows of each source.
        reports: Vec<SourceReport>,
        /// The longest example in tokens.
        max_length: usize,
    },
    /// Examples whose logits of a base or teacher were written to disk so far.
    BaseLogits {
        /// Examples done.
        done: usize,
        /// Examples in all.
        total: usize,
    },
    /// The logits of a base are on disk.
    BaseLogitsWritten {
        /// The base.
        base: String,
        /// Tokens whose logits were written.
        tokens: u64,
        /// Ids kept for each token; 0 for all.
        top_k: usize,
        /// Mean information lost by keeping only some ids, in nats per token.
        mean_kl: f64,
        /// The maximum of it.
        largest_kl: f64,
    },
    /// The predictions of the teacher are on disk.
    TeacherLogitsWritten {
        /// The teacher.
        teacher: String,
        /// Tokens whose logits were written.
        tokens: u64,
        /// Ids kept for each token; 0 for all.
        top_k: usize,
        /// Mean probability of all other ids together.
        mean_rest: f64,
    },
    /// From the training loop.
    Run(Event),
}

/// Hands the events of a run to the listener.
pub(super) struct Reporter<'a>(RefCell<Box<dyn FnMut(TrainEvent) + 'a>>);

impl<'a> Reporter<'a> {
    pub(super) fn new(on_event: impl FnMut(TrainEvent) + 'a) -> Self {
        Self(RefCell::new(Box::new(on_event)))
    }

    pub(super) fn report(&self, event: TrainEvent) {
        (self.0.borrow_mut())(event);
    }
}
