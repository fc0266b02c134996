//! Demonstrations as tokens, with a mark on those that are learnt.

use std::ops::Range;

use ivl_models::{ChatTemplate, Message, RenderOptions, Tokenizer};

use crate::Error;
use crate::data::{Demonstration, Row};

/// A tokenised demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each token is learnt: predicted under the loss.
    pub learnt: Vec<bool>,
}

/// Examples, and what was lost on the way.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// Those with at least one learnt token that something precedes.
    pub examples: Vec<Example>,
    /// Rows that were cut to the longest length.
    pub truncated: usize,
    /// Rows of which nothing learnt was left.
    pub dropped: usize,
}

/// Turns rows into examples.
#[derive(Debug)]
pub struct Encoder<'a> {
    /// The tokenizer of base and value.
    pub tokenizer: &'a Tokenizer,
    /// Renders messages.
    pub template: Option<&'a ChatTemplate>,
    /// Longest example in tokens.
    pub max_length: usize,
}

impl Encoder<'_> {
    /// Tokenises all rows.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] or [`Error::TemplateRewrites`] for messages that cannot be rendered, [`Error::NothingToTrain`]
    /// if no learnt token is left in any row; `what` names the setting.
    pub fn encode_all(&self, rows: &[Row], what: &'static str) -> Result<Examples, Error> {
        let mut all = Examples::default();
        for row in rows {
            let mut example = self.encode(row)?;
            if example.ids.len() > self.max_length {
                example.ids.truncate(self.max_length);
                example.learnt.truncate(self.max_length);
                all.truncated += 1;
            }
            // The first token is predicted by nothing.
            if example.learnt.iter().skip(1).any(|&learnt| learnt) {
                all.examples.push(example);
            } else {
                all.dropped += 1;
            }
        }
        if all.examples.is_empty() {
            let (dropped, max_length) = (all.dropped, self.max_length);
            return Err(Error::NothingToTrain { what, rows: rows.len(), dropped, max_length });
        }
        Ok(all)
    }

    /// Tokenises one row: the text as a whole, so that tokens are those of generation; a token is learnt if it begins
    /// inside a learnt span. Prompt-completion pairs and texts end with the end token, learnt.
    ///
    /// # Errors
    /// As [`encode_all`](Self::encode_all).
    pub fn encode(&self, row: &Row) -> Result<Example, Error> {
        let (text, spans, special) = match &row.demonstration {
            Demonstration::Messages(messages) => {
                let (text, spans) = self.render(row, messages)?;
                (text, spans, false)
            }
            Demonstration::Completion { prompt, completion } => {
                let text = format!("{prompt}{completion}");
                let learnt = prompt.len()..text.len();
                (text, vec![learnt], true)
            }
            Demonstration::Text(text) => (text.clone(), std::iter::once(0..text.len()).collect(), true),
        };
        let encoded = self.tokenizer.encode_with_offsets(&text, special)?;
        let mut example = Example { ids: Vec::new(), learnt: Vec::new() };
        for (id, (start, end)) in encoded {
            // A token without text of its own (the beginning-of-text token) is given, not learnt.
            let learnt = start < end && spans.iter().any(|span| span.contains(&begin(&text, start, end)));
            example.ids.push(id);
            example.learnt.push(learnt);
        }
        let end = self.tokenizer.eos_id().filter(|&end| special && example.ids.last() != Some(&end));
        example.ids.extend(end);
        example.learnt.resize(example.ids.len(), true);
        Ok(example)
    }

    fn render(&self, row: &Row, messages: &[Message]) -> Result<(String, Vec<Range<usize>>), Error> {
        let (path, line) = (row.path.clone(), row.line);
        let Some(template) = self.template else { return Err(Error::NoTemplate { path, line }) };
        let render = |messages: &[Message], add_generation_prompt| {
            template.render(messages, &RenderOptions { add_generation_prompt, ..RenderOptions::default() })
        };
        let text = render(messages, false)?;
        let mut spans = Vec::new();
        for turn in (0..messages.len()).filter(|&turn| messages[turn].role == "assistant") {
            let before = render(&messages[..turn], true)?;
            let with = render(&messages[..=turn], false)?;
            if !text.starts_with(&with) || !with.starts_with(&before) {
                return Err(Error::TemplateRewrites { path, line, turn });
            }
            spans.push(before.len()..with.len());
        }
        Ok((text, spans))
    }
}

/// Where a token's own text begins: a space that the tokenizer glued to a word is not what decides.
fn begin(text: &str, start: usize, end: usize) -> usize {
    let token = text.get(start..end).unwrap_or_default();
    let spaces = token.len() - token.trim_start_matches(' ').len();
    if spaces < token.len() { start + spaces } else { start }
}
