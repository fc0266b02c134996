//! Measuring models: evaluation tasks, what values change, how far they travel, and how sure one can be of the figures.
//!
//! A [`Task`] is a TOML file with rows of JSON. [`evaluate`] asks a model about each row, in batches of similar length, and
//! gives figures with their standard errors; a [`SampleLog`] keeps every answer, so that a run that was cut off goes on
//! where it ended. Prompts, scores and figures are those of lm-evaluation-harness 0.4.
//!
//! The parts stand by themselves: [`likelihoods`] scores continuations of contexts, [`Writing`] writes greedy answers,
//! [`Extraction`] and [`TextMatch`] compare an answer with the right text.
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

mod encoding;
mod error;
mod gate_curve;
mod generation;
mod heat_map;
mod html;
mod influence;
mod instructions;
mod likelihood;
mod python_text;
mod report;
mod run;
mod sample_log;
mod score;
mod statistics;
mod task;
pub mod transfer;
mod visible;

pub use encoding::{Encoding, Fitted};
pub use error::{Error, Place};
pub use gate_curve::{GatePoint, GateSignal, gate_curve, most_skipped, skipped_at_random};
pub use generation::Writing;
pub use heat_map::{HEAT_MAP_STYLE, heat_map, strength};
pub use html::{escape, page};
pub use influence::{Disagreement, Effect, Influence};
pub use instructions::{Followed, Instruction, Relation, check as check_instructions};
pub use likelihood::{Continuation, Likelihood, likelihoods};
pub use report::{results_json, results_table};
pub use run::{Notes, Outcome, RunSettings, Subject, evaluate, identity};
pub use sample_log::SampleLog;
pub use score::*;
pub use statistics::{Estimate, Interval, bootstrap, bootstrap_error, mean};
pub use task::*;
pub use visible::{Visible, visible, visible_line};
