//! From answers to scores: what each metric says of one sample, and of all.

mod aggregate;
mod choice;
mod exact_match;
mod extraction;
mod measure;

pub use aggregate::{Aggregate, aggregate};
pub use choice::{ChoiceMetric, most_likely};
pub use exact_match::{TextMatch, TextRule};
pub use extraction::Extraction;
pub use measure::{Answer, Measure, Score, ScoreValue};
