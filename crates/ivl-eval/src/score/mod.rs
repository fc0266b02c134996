//! From answers to scores: what each metric says of one sample, and of all.

mod aggregate;
mod choice;
mod exact_match;
mod extraction;
mod metric;

pub use aggregate::Aggregate;
pub(crate) use aggregate::aggregate;
pub use choice::ChoiceMetric;
pub use exact_match::{TextMatch, TextRule};
pub use extraction::Extraction;
pub use metric::{Metric, SampleAnswer};
pub(crate) use metric::{SampleScore, ScoreValue};
