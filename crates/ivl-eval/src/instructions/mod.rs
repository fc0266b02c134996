//! The verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911): whether a response follows them, as
//! lm-evaluation-harness 0.4 decides it.

mod check;
mod instruction;
mod json;
mod language;
mod sentences;
mod verdicts;
mod words;

pub use verdicts::{InstructionVerdicts, check};
