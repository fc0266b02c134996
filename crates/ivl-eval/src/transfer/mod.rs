//! How far a value travels: the same questions to every base alone, with the value, and after a fine-tuning of its own.
//!
//! [`observe`] reads the answers of the data under teacher forcing, once for any number of weights; [`answer`] generates
//! answers to compare with them. [`Transfer::new`] makes the table of both, with what can be said with confidence:
//! standard errors and bootstrap intervals over questions, paired where two models answer the same ones.

mod answers;
mod coverage;
mod forced;
mod measured;
mod passage;
mod recovery;
pub mod report;
mod summary;
mod verdict;

pub use answers::{Answer, Prompt, answer};
pub use coverage::Coverage;
pub use forced::{Observations, Observed, observe, observe_tuned};
pub use measured::{Measured, MeasuredBase};
pub use passage::Passage;
pub(crate) use recovery::ROUNDS;
pub use recovery::{Share, difference, gap_recovered};
pub use summary::{BaseSummary, Figure, Setting, Transfer, TransferSource};
pub use verdict::{BaseVerdict, Effect, Verdict};
