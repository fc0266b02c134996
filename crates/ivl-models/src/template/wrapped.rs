//! The words of all turns in one rendering: letters around them, and the true text along it.

use std::ops::Range;

use serde_json::Value;

use super::letters::Letters;
use super::message::Message;

/// A message with letters around its words; as it is if it has none.
pub(super) fn wrapped_message(message: &Message, [open, close]: [char; 2]) -> Message {
    let mut wrapped = message.clone();
    match &mut wrapped.content {
        Value::String(text) if !text.trim().is_empty() => *text = format!("{open}{text}{close}"),
        _ => {}
    }
    wrapped
}

/// Where the words of turns stand in a text.
#[derive(Debug)]
pub(super) struct WrappedText {
    /// By turn.
    words: Vec<Option<Range<usize>>>,
}

impl WrappedText {
    /// Follows the true text along the one with letters. `None` if they differ in more than the letters and the blanks that a
    /// template strips beside them.
    pub(super) fn align(wrapped: &str, text: &str, letters: Letters, messages: &[Message]) -> Option<Self> {
        let turns = messages.len();
        let mut words: Vec<Option<Range<usize>>> = vec![None; turns];
        let (mut at, mut rest) = (0, wrapped);
        let mut seen = vec![false; turns];
        loop {
            let Some(letter_at) = rest.find(|letter| letters.is_ours(letter)) else {
                return (text.get(at..)? == rest).then_some(Self { words });
            };
            at = follow(text, at, &rest[..letter_at])?;
            rest = &rest[letter_at..];
            let letter = rest.chars().next()?;
            rest = &rest[letter.len_utf8()..];
            let Some(turn) = letters.turn_opened_by(letter).filter(|&turn| turn < turns) else {
                // The end of words whose beginning the template dropped.
                continue;
            };
            let close = letters.around(turn)[1];
            let end = rest.find(|letter| letters.is_ours(letter))?;
            if !rest[end..].starts_with(close) || std::mem::replace(&mut seen[turn], true) {
                return None;
            }
            let said = &rest[..end];
            rest = &rest[end + close.len_utf8()..];
            let next = &rest[..rest.find(|letter| letters.is_ours(letter)).unwrap_or(rest.len())];
            let shown =
                [said, said.trim_start(), said.trim_end(), said.trim()].into_iter().find(|shown| {
                    text.get(at..)
                        .and_then(|text| text.strip_prefix(*shown))
                        .is_some_and(|text| text.starts_with(next))
                })?;
            // Words that the template changes are no longer those of the turn.
            words[turn] = Some(at..at + shown.len()).filter(|_| messages[turn].content == said);
            at += shown.len();
        }
    }

    /// The words of a turn, if they were found.
    pub(super) fn words(&self, turn: usize) -> Option<Range<usize>> {
        self.words[turn].clone()
    }
}

fn follow(text: &str, at: usize, part: &str) -> Option<usize> {
    text.get(at..)?.starts_with(part).then_some(at + part.len())
}
