//! Transfer of a value: every base evaluated on the same questions without the value, with it, and fully fine-tuned.
//!
//! [`answer_stats`] reads the answers of the data under teacher forcing, once for any number of weights; [`answer_greedily`] generates
//! answers to compare with them. [`Transfer::new`] makes the table of both, with bootstrap intervals:
//! standard errors and bootstrap intervals over questions, paired where two models answer the same ones.

mod answers;
mod best_alpha;
mod coverage;
mod measured;
mod passage;
mod recovery;
pub mod report;
mod summary;
mod teacher_forcing;
mod verdict;

pub use answers::{GradedAnswer, QuestionPrompt, answer_greedily};
pub use coverage::MapCoverage;
pub use measured::{Measured, MeasuredBase};
pub(crate) use passage::Pass;
pub use passage::Passage;
pub(crate) use recovery::ROUNDS;
pub use recovery::{FEWEST_QUESTIONS, IntervalEstimate};
pub use summary::{BaseSummary, Figure, SettingSummary, Transfer, TransferSource};
pub(crate) use teacher_forcing::IMPOSSIBLE;
pub use teacher_forcing::{AnswerStats, WeightedAnswerStats, answer_stats, tuned_answer_stats};
pub use verdict::{BaseVerdict, Effect, Verdict};
