//! The loop, its checkpoints and its reports.

pub(crate) mod checkpoint_dir;
pub(crate) mod checkpoint_writer;
pub(crate) mod early_stopping;
pub(crate) mod evaluate;
pub(crate) mod identity;
pub(crate) mod manifest;
pub(crate) mod report;
pub(crate) mod run_state;
pub(crate) mod tensorboard;
pub(crate) mod train;

pub use identity::RunIdentity;
pub use report::{Best, EvalReport, Event, StepReport};
pub use tensorboard::EventFile;
pub use train::{Run, Trained, train};
