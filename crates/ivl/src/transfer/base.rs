//! One base of the study, before its weights are read.

use std::path::Path;

use ivl_core::vocab::TokenKind;
use ivl_models::{ChatError, ChatTemplate, TemplateChoice, TransformerLm, ValueCard};

use crate::error::Result;
use crate::model::place_base;
use crate::open_checkpoint::OpenCheckpoint;
use crate::open_options::OpenOptions;
use crate::placement::Planner;

/// A base with everything but its weights.
pub(super) struct StudyBase {
    pub(super) open: OpenCheckpoint,
    /// The template that renders the questions, if there is one.
    pub(super) template: Option<ChatTemplate>,
    pub(super) end_tokens: Vec<u32>,
}

impl StudyBase {
    /// Opens a base for a value in a directory.
    pub(super) fn open(name: &str, value: &Path, template: &TemplateChoice) -> Result<Self> {
        let open = OpenCheckpoint::open(name)?;
        let template = match template.find(&open.path, &[value]) {
            Err(ChatError::NoTemplate { .. }) => None,
            found => Some(found?),
        };
        Ok(Self { template, end_tokens: open.end_tokens()?, open })
    }

    /// Whether the value was trained against it: the same configuration and tokenizer under the same last name. Weights
    /// are not compared; a base that was trained further keeps all but its name.
    pub(super) fn is_home(&self, card: Option<&ValueCard>) -> bool {
        let own = self.open.base_card();
        let last = |name: &str| Path::new(name).file_name().map(ToOwned::to_owned);
        let names = [last(&self.open.name), self.open.path.file_name().map(ToOwned::to_owned)];
        card.is_some_and(|card| {
            card.bases.iter().any(|base| {
                base.config == own.config
                    && base.tokenizer == own.tokenizer
                    && names.contains(&last(&base.name))
            })
        })
    }

    /// Whether a token is a control token.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.open.vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control)
    }
}

/// A fine-tuned model, whose tokenizer gives tokens the base's ids, and the tokens that end its texts.
pub(super) fn load_finetuned(
    name: &str,
    planner: &Planner,
    options: &OpenOptions,
) -> Result<(TransformerLm, Vec<u32>)> {
    let open = OpenCheckpoint::open(name)?;
    // It takes the devices of the base, not what base and values leave of them.
    let placement = place_base(&mut planner.clone(), &open)?;
    Ok((open.load(None, placement, options)?, open.end_tokens()?))
}

/// Short names: the last part of a path, or all of it where two would be alike.
pub(super) fn short_names(names: &[String]) -> Vec<String> {
    let last = |name: &String| {
        let last = Path::new(name).file_name().and_then(|last| last.to_str());
        last.unwrap_or(name).to_owned()
    };
    let short: Vec<String> = names.iter().map(last).collect();
    let unique = |index: &usize| short.iter().filter(|other| **other == short[*index]).count() == 1;
    (0..names.len())
        .map(|index| if unique(&index) { short[index].clone() } else { names[index].clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be_told_apart() {
        let names = ["a/small", "b/small", "b/large", "org/tiny"].map(str::to_owned);
        assert_eq!(short_names(&names), ["a/small", "b/small", "large", "tiny"]);
    }
}
