//! Measures models: evaluation tasks, what values change, how far they travel, and how sure one can be of the figures.
//!
//! A [`Task`] is a TOML file with rows of JSON. [`evaluate`] runs a model on every row, in batches of similar length, and
//! returns figures with their standard errors. A [`SampleLog`] keeps every answer, so that an interrupted run continues
//! where it stopped. Prompts, scores and figures are those of lm-evaluation-harness 0.4.
//!
//! [`transfer`] compares bases without a value, with it, and fully fine-tuned. [`explanation`] shows what values
//! change in a text. [`gate_fit`] fits a gate that weights a value position by position. [`Extraction`] and [`TextMatch`]
//! compare an answer with the right text.
//!
//! # Example: does an answer hold the fact?
//!
//! ```
//! use ivl_eval::{TextMatch, TextRule};
//!
//! let rule = TextMatch { ignore_case: true, ..TextMatch::new(TextRule::Contains) };
//! assert!(rule.is_right("She lives in oslo.", &["Oslo".to_owned()])?);
//! # Ok::<(), ivl_models::PatternError>(())
//! ```

mod error;
pub mod explanation;
pub mod gate_fit;
mod html;
mod instructions;
mod python_text;
mod requests;
mod run;
mod score;
mod statistics;
mod task;
pub mod transfer;

pub use error::{Error, FileLine};
pub use instructions::{InstructionVerdicts, check as check_instructions};
pub use requests::Likelihood;
pub use run::{
    EvalModel, Notes, Outcome, RunSettings, SampleLog, evaluate, identity, results_json, results_table,
};
pub use score::{Aggregate, ChoiceMetric, Extraction, Metric, SampleAnswer, TextMatch, TextRule};
pub use task::{MetricName, OutputType, Task, TaskRow};
