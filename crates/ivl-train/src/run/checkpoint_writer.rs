//! Writes checkpoints while the run continues.

use std::time::Instant;

use burn::module::{Module, ParamGroup};
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::train::Interrupter;
use burn::train::checkpoint::{AsyncCheckpointer, Checkpointer};

use crate::Error;
use crate::run::checkpoint_dir::CheckpointDir;
use crate::run::run_state::RunState;
use crate::step::learner::ValueLearner;

/// The weights of a run, its optimizer and its schedule: what a checkpoint has a record of.
pub(crate) struct Training {
    pub(crate) learner: ValueLearner,
    pub(crate) optimizer: ModuleOptimizer,
    pub(crate) schedule: ModuleLrScheduler,
    /// Whether only adapters are trained: checkpoints then leave the frozen weights out.
    pub(crate) adapters: bool,
}

/// The parameters of adapters.
const ADAPTERS: &str = r"\.lora\.(down|up)$";

impl Training {
    /// The trained parameters.
    fn model_record(&self) -> ModuleRecord {
        let learner = self.learner.clone();
        if !self.adapters {
            return learner.into_record();
        }
        let adapters = ParamGroup::from_regex(ADAPTERS).expect("the expression is a constant");
        learner.into_record_group(adapters)
    }

    /// A value with the parameters of a checkpoint.
    pub(crate) fn with_record(&self, learner: ValueLearner, record: ModuleRecord) -> ValueLearner {
        learner.load_record(record.allow_partial(self.adapters))
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub(crate) fn restore(self, checkpoints: &CheckpointDir, step: usize) -> Result<Self, Error> {
        let [model, optimizer, schedule] = checkpoints.record_files();
        Ok(Self {
            learner: self.with_record(self.learner.clone(), model.load(step)?),
            optimizer: self.optimizer.load_record(optimizer.load(step)?),
            schedule: self.schedule.load_record(schedule.load(step)?),
            adapters: self.adapters,
        })
    }
}

/// Burn-train's checkpointers, each with a thread of its own. Dropping the writer waits until all is on the disk.
pub(crate) struct CheckpointWriter {
    checkpoints: CheckpointDir,
    model: AsyncCheckpointer<ModuleRecord>,
    optimizer: AsyncCheckpointer<OptimizerRecord>,
    schedule: AsyncCheckpointer<LrSchedulerRecord>,
    /// The last step that was saved.
    saved: usize,
    /// When it was saved, or the run began.
    saved_at: Instant,
}

impl CheckpointWriter {
    /// A writer for a run after `step` steps. A failure stops the run through its interrupter.
    pub(crate) fn new(checkpoints: CheckpointDir, step: usize, interrupter: &Interrupter) -> Self {
        let [model, optimizer, schedule] = checkpoints.record_files();
        Self {
            checkpoints,
            model: AsyncCheckpointer::new(model).with_interrupter(interrupter.clone()),
            optimizer: AsyncCheckpointer::new(optimizer).with_interrupter(interrupter.clone()),
            schedule: AsyncCheckpointer::new(schedule).with_interrupter(interrupter.clone()),
            saved: step,
            saved_at: Instant::now(),
        }
    }

    /// Whether the configured minutes of work are not saved yet; never for 0.
    pub(crate) fn is_due(&self, minutes: f64) -> bool {
        minutes > 0.0 && self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes
    }

    /// Whether a step is saved already.
    pub(crate) fn has(&self, step: usize) -> bool {
        step <= self.saved
    }

    /// Hands a checkpoint to the threads that write it.
    pub(crate) fn save(&mut self, step: usize, state: &RunState, training: &Training) {
        self.checkpoints.announce(step, state.clone());
        let saved = self
            .model
            .save(step, training.model_record())
            .and_then(|()| self.optimizer.save(step, training.optimizer.to_record()))
            .and_then(|()| self.schedule.save(step, training.schedule.to_record()));
        saved.expect("handing a record to its thread cannot fail");
        (self.saved, self.saved_at) = (step, Instant::now());
    }
}
