//! Transfer of a value: every base without it, with it at several weights, and fully fine-tuned.
//!
//! A [`StudyPlan`] says what is measured, [`StudyPlan::measure`] measures it. [`write_report`] writes tables, answers and a
//! page, [`write_verdict`] the recommended weight to the value's card.

mod base;
mod base_study;
mod events;
mod finetunes;
mod measurement;
mod plan;
mod questions;
mod report_files;
mod study;
mod verdict_card;

pub use self::events::StudyEvent;
pub use self::finetunes::{FinetuneConfig, Finetunes};
pub use self::plan::StudyPlan;
pub use self::report_files::{REPORT_FILE, write_report};
pub use self::study::Study;
pub use self::verdict_card::write_verdict;
