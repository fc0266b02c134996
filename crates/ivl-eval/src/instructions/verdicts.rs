//! Whether a response follows the instructions of its prompt, strictly and loosely.

use crate::error::Error;
use crate::python_text;
use crate::task::TaskRow;

use super::instruction::Instruction;

/// Whether a response follows each instruction of its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionVerdicts {
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
pub fn check(row: &TaskRow, response: &str) -> Result<InstructionVerdicts, Error> {
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
    Ok(InstructionVerdicts { strict, loose })
}

/// Variants of a response that a loose check allows: without the first line, the last or both, and each without asterisks.
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
