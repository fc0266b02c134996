//! A task from its rows to its figures.

mod evaluate;
mod results;
mod sample_log;

pub use evaluate::{EvalModel, Notes, Outcome, RunSettings, evaluate, identity};
pub use results::{results_json, results_table};
pub use sample_log::SampleLog;
