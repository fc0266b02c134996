//! The questions of the study in the tokens of a base.

use std::path::Path;

use ivl_eval::transfer::{Passage, QuestionPrompt};
use ivl_train::{Dataset, Demonstration, Encoder, Row, SourceConfig};

use super::base::StudyBase;
use crate::error::{Error, Result};

/// Tokens by which an answer may be longer than the reference and still be the same text: a model may spell it otherwise.
const LEEWAY: usize = 8;

/// The rows of a data file, read once for all bases.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// SHA-256 of the file.
    pub(super) fingerprint: String,
}

impl Rows {
    pub(super) fn read(path: &Path, limit: Option<usize>) -> Result<Self> {
        let dataset = Dataset::open(&[SourceConfig::new(path)])?;
        let rows = dataset.sources.iter().flat_map(ivl_train::Source::rows);
        let rows: Vec<Row> = rows.take(limit.unwrap_or(usize::MAX)).collect::<std::result::Result<_, _>>()?;
        if rows.is_empty() {
            let reason = format!("leaves no question with a limit of {}", limit.unwrap_or_default());
            return Err(Error::Content { path: path.to_owned(), reason });
        }
        Ok(Self { rows, fingerprint: dataset.fingerprint })
    }
}

/// One question in a base's tokens.
pub(super) struct Question {
    pub(super) passage: Passage,
    /// The prompt of the last answer, and the answer; `None` without a prompt.
    pub(super) prompt: Option<QuestionPrompt>,
    /// The question, for readers.
    pub(super) asked: String,
    /// The token that ends the answer, if a control token does.
    pub(super) end: Option<u32>,
}

impl Question {
    /// Tokenises a row as training does, so that what is scored is what would be trained.
    pub(super) fn new(row: &Row, base: &StudyBase) -> Result<Self> {
        let encoder = Encoder::new(&base.open.tokenizer, base.template.as_ref(), usize::MAX);
        let example = encoder.encode(row)?;
        let answer = last_answer(&example.loss_mask);
        let prompt = &example.ids[..answer.start];
        let end = example.ids[answer.clone()].last().copied();
        let end = end.filter(|&end| base.is_control(end) || base.end_tokens.contains(&end));
        let reference = base.open.tokenizer.decode(&example.ids[answer.clone()], true)?;
        let limit = answer.len() + if end.is_some() { LEEWAY } else { 0 };
        let rendered = base.open.tokenizer.decode(prompt, true)?;
        Ok(Self {
            prompt: (!prompt.is_empty() && !reference.trim().is_empty()).then(|| QuestionPrompt {
                ids: prompt.to_vec(),
                reference,
                limit,
            }),
            passage: Passage { ids: example.ids, loss_mask: example.loss_mask },
            asked: asked(&row.demonstration).map_or(rendered, str::to_owned),
            end,
        })
    }

    /// The question as people read it, and the answer of the data.
    pub(super) fn as_shown(&self) -> (String, String) {
        let reference = self.prompt.as_ref().map_or("", |prompt| prompt.reference.trim());
        (self.asked.clone(), reference.to_owned())
    }

    /// Whether a base can read it, and there is an answer to score.
    pub(super) fn fits(&self, max_positions: usize) -> bool {
        self.passage.ids.len() < max_positions && self.passage.answer().next().is_some()
    }
}

/// The question of the last answer.
fn asked(demonstration: &Demonstration) -> Option<&str> {
    match demonstration {
        Demonstration::Conversation(conversation) => {
            let answer = conversation.trained_turns().last()?;
            conversation.messages[..answer].iter().rfind(|message| message.role == "user")?.content.as_str()
        }
        Demonstration::Instruction { instruction, input, .. } if input.is_empty() => Some(instruction),
        Demonstration::Completion { prompt, .. } => Some(prompt),
        Demonstration::Instruction { .. } | Demonstration::Text(_) | Demonstration::Pair(_) => None,
    }
}

/// The last run of trained tokens.
fn last_answer(loss_mask: &[bool]) -> std::ops::Range<usize> {
    let end = loss_mask.iter().rposition(|&is_trained| is_trained).map_or(0, |last| last + 1);
    let start = loss_mask[..end].iter().rposition(|&is_trained| !is_trained).map_or(0, |before| before + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_the_answer() {
        let loss_mask = |text: &str| text.chars().map(|c| c == 'x').collect::<Vec<_>>();
        assert_eq!(last_answer(&loss_mask("..xx..xxx.")), 6..9);
        assert_eq!(last_answer(&loss_mask("xx")), 0..2);
        assert_eq!(last_answer(&loss_mask("....")), 0..0);
    }
}
