//! The text that a template puts around every assistant turn, found on a conversation of two.

use super::chat::{ChatTemplate, RenderOptions};
use super::letters::Letters;
use super::message::Message;
use crate::tokenizer::Tokenizer;

/// The text that a template puts around a turn.
#[derive(Debug, Clone, Default)]
pub(super) struct TurnFrame {
    /// The text that `add_generation_prompt` adds; may be empty.
    pub(super) prompt: String,
    /// The text after the last assistant turn.
    pub(super) close: Option<String>,
    /// The text between an assistant turn and the next user turn.
    pub(super) next: Option<String>,
}

impl TurnFrame {
    /// A template may refuse the conversation of two; then nothing is known of its frame.
    pub(super) fn of(template: &ChatTemplate, options: &RenderOptions) -> Self {
        let letters = Letters::PROBE;
        let message = |role: &str, turn: usize| Message::new(role, &letters.turn(turn).to_string());
        let turns = [message("user", 0), message("assistant", 1), message("user", 2)];
        let after = |messages: &[Message], add_generation_prompt, turn: usize| {
            let options = RenderOptions { add_generation_prompt, ..options.clone() };
            let text = template.render_prepared(messages, &options, None).ok()?;
            text.rsplit_once(letters.turn(turn)).map(|(_, after)| after.to_owned())
        };
        let plain = after(&turns[..1], false, 0).unwrap_or_default();
        let prompted = after(&turns[..1], true, 0).unwrap_or_default();
        let prompt = prompted[common_prefix(&plain, &prompted)..].to_owned();
        let next = after(&turns, false, 1)
            .and_then(|after| after.split_once(letters.turn(2)).map(|(between, _)| between.to_owned()));
        Self { prompt, close: after(&turns[..2], false, 1), next }
    }
}

impl ChatTemplate {
    /// The tokens with which the template ends a turn of the assistant: the first control token of what closes the turn, or that
    /// which opens the next turn where nothing closes this one. Training teaches them, so a generation ends at them.
    pub fn end_tokens(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let frame = TurnFrame::of(self, &RenderOptions::default());
        let vocab = tokenizer.vocab();
        let is_control = |id: &u32| vocab.token(*id).is_some_and(ivl_core::vocab::Token::is_control);
        let ids = |text: &Option<String>| {
            text.as_ref().and_then(|text| tokenizer.encode(text, false).ok()).unwrap_or_default()
        };
        let closing = ids(&frame.close).into_iter().find(is_control);
        closing.or_else(|| ids(&frame.next).first().copied().filter(is_control)).into_iter().collect()
    }
}

/// Bytes that two texts begin with alike.
pub(super) fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y);
    same.map_or(a.len().min(b.len()), |((at, _), _)| at)
}

/// Bytes that two texts end with alike.
pub(super) fn common_suffix(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}
