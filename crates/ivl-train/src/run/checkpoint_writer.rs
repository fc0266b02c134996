//! Writes checkpoints while the run continues.

use burn::module::Module;
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
}

impl Training {
    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub(crate) fn restore(self, checkpoints: &CheckpointDir, step: usize) -> Result<Self, Error> {
        let [model, optimizer, schedule] = checkpoints.record_files();
        Ok(Self {
            learner: self.learner.load_record(model.load(step)?),
            optimizer: self.optimizer.load_record(optimizer.load(step)?),
            schedule: self.schedule.load_record(schedule.load(step)?),
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
        }
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
            .save(step, training.learner.clone().into_record())
            .and_then(|()| self.optimizer.save(step, training.optimizer.to_record()))
            .and_then(|()| self.schedule.save(step, training.schedule.to_record()));
        saved.expect("handing a record to its thread cannot fail");
        self.saved = step;
    }
}
