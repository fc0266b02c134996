//! Tasks: prompts, targets and metrics.

mod check;
mod compiled;
mod document;
mod file;
mod rendering;
mod rows;

pub use compiled::Task;
pub(crate) use compiled::digest;
pub(crate) use document::{Document, Gold};
pub(crate) use file::{FilterFunction, FilterPipeline, FilterStep, MetricSettings};
pub use file::{MetricName, OutputType};
pub use rows::TaskRow;
