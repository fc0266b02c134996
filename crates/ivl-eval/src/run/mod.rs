//! A task from its rows to its figures.

mod evaluate;
mod model;
mod outcome;
mod results;
mod runner;
mod sample_log;
mod settings;

pub use evaluate::evaluate;
pub use model::EvalModel;
pub use outcome::{Notes, Outcome};
pub use results::{results_json, results_table};
pub use sample_log::SampleLog;
pub use settings::{RunSettings, identity};
