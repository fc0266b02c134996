//! The loop, its checkpoints and its reports.

pub(crate) mod checkpointing;
pub(crate) mod completeness;
pub(crate) mod early_stopping;
pub(crate) mod evaluate;
pub(crate) mod report;
pub(crate) mod run_state;
pub(crate) mod silent;
pub(crate) mod tensorboard;
pub(crate) mod trainer;

pub use checkpointing::{CheckpointDir, Part, Restored, WhenAsked};
pub use early_stopping::Watch;
pub use report::{Best, EvalReport, Event, StepReport};
pub use run_state::RunState;
pub use tensorboard::EventFile;
pub use trainer::{Run, Trained, train};
