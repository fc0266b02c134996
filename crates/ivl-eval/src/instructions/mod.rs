//! The verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911): whether a response follows them, as
//! lm-evaluation-harness 0.4 decides it.

mod check;
mod instruction;
mod json;
mod language;
mod sentences;
mod words;

use crate::error::Error;
use crate::python_text;
use crate::score::{Score, ScoreValue};
use crate::task::Row;

pub use instruction::{Instruction, Relation};

/// Whether a response follows each instruction of its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The response as it is.
    pub strict: Vec<bool>,
    /// The response, or what is left of it without its first line, last line and asterisks.
    pub loose: Vec<bool>,
}

/// Checks a response against the instructions of a row of IFEval (`instruction_id_list` and `kwargs`).
///
/// # Errors
/// [`Error::Gives`] for a row without instructions, [`Error::Instruction`] for one that is not known or lacks what it is
/// about, [`Error::Pattern`] for a keyword that is no regular expression.
pub fn check(row: &Row, response: &str) -> Result<Followed, Error> {
    let instructions = Instruction::all(row)?;
    let variants = variants(response);
    let follows = |instruction: &Instruction, text: &str| -> Result<bool, Error> {
        if python_text::trim(text).is_empty() {
            return Ok(false);
        }
        let what = || format!("`{}` of {}", instruction.id(), row.place);
        instruction.is_followed(text).map_err(|source| Error::Pattern { what: what(), source })
    };
    let (mut strict, mut loose) = (Vec::new(), Vec::new());
    for instruction in &instructions {
        strict.push(follows(instruction, response)?);
        let mut any = false;
        for variant in &variants {
            any = any || follows(instruction, variant)?;
        }
        loose.push(any);
    }
    Ok(Followed { strict, loose })
}

/// What a loose check allows: without the first line, the last or both, and each without asterisks.
fn variants(response: &str) -> Vec<String> {
    let lines: Vec<&str> = response.split('\n').collect();
    let joined = |lines: &[&str]| python_text::trim(&lines.join("\n")).to_owned();
    let without_first = joined(&lines[1..]);
    let without_last = joined(&lines[..lines.len() - 1]);
    let without_both = joined(lines.get(1..lines.len() - 1).unwrap_or_default());
    let whole = [response.to_owned(), without_first, without_last, without_both];
    let plain: Vec<String> = whole.iter().map(|text| text.replace('*', "")).collect();
    whole.into_iter().chain(plain).collect()
}

impl Followed {
    /// The four figures of one prompt.
    pub(crate) fn scores(&self, filter: &str) -> Vec<Score> {
        let all = |followed: &[bool]| ScoreValue::Right(f64::from(u8::from(followed.iter().all(|&f| f))));
        let score = |metric, value| Score { metric, filter: filter.to_owned(), value };
        vec![
            score("prompt_level_strict_acc", all(&self.strict)),
            score("inst_level_strict_acc", ScoreValue::Several(self.strict.clone())),
            score("prompt_level_loose_acc", all(&self.loose)),
            score("inst_level_loose_acc", ScoreValue::Several(self.loose.clone())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_checks_leave_out_lines_and_asterisks() {
        assert_eq!(
            variants("Sure!\n*one*\nBye"),
            [
                "Sure!\n*one*\nBye",
                "*one*\nBye",
                "Sure!\n*one*",
                "*one*",
                "Sure!\none\nBye",
                "one\nBye",
                "Sure!\none",
                "one"
            ]
        );
        assert_eq!(variants("a"), ["a", "", "", "", "a", "", "", ""]);
    }
}
