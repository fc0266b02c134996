//! Letters that occur nowhere in a conversation, to find out where a template puts what.

use std::collections::BTreeSet;

use super::chat_error::ChatError;
use super::message::Message;

/// Letters of Unicode's last plane, three for each turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters {
    first: u32,
    turns: u32,
}

impl Letters {
    const FIRST: u32 = 0x10_0000;
    const LAST: u32 = 0x10_fffd;

    /// For a conversation of two.
    pub(super) const PROBE: Self = Self { first: Self::FIRST, turns: 4 };

    /// Those past all that the messages and a text use.
    ///
    /// # Errors
    /// [`ChatError::NoLetters`] if there are too few.
    pub(super) fn unused(messages: &[Message], text: &str) -> Result<Self, ChatError> {
        let turns = messages.len().max(2) as u32;
        let json = serde_json::to_string(messages).expect("strings and JSON values serialise");
        let used = json.chars().chain(text.chars()).map(u32::from);
        let first = used.filter(|letter| *letter >= Self::FIRST).max().map_or(Self::FIRST, |last| last + 1);
        if turns.checked_mul(3).and_then(|all| all.checked_add(first)).is_none_or(|past| past > Self::LAST) {
            return Err(ChatError::NoLetters { turns: messages.len() });
        }
        Ok(Self { first, turns })
    }

    fn letter(self, index: u32) -> char {
        char::from_u32(self.first + index).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// The letter that stands for what a turn says.
    pub(super) fn turn(self, turn: usize) -> char {
        self.letter(turn as u32)
    }

    /// The turn that a letter of [`turn`](Self::turn) stands for.
    pub(super) fn turn_of(self, letter: char) -> Option<usize> {
        self.index(letter, 0)
    }

    /// The letter that stands inside the text of a turn.
    pub(super) fn anchor(self, turn: usize) -> char {
        self.letter(self.turns + turn as u32)
    }

    /// The turn that a letter of [`anchor`](Self::anchor) stands in.
    pub(super) fn anchored(self, letter: char) -> Option<usize> {
        self.index(letter, self.turns)
    }

    /// The letter that stands for the function that a turn calls.
    pub(super) fn call(self, turn: usize) -> char {
        self.letter(2 * self.turns + turn as u32)
    }

    /// Two letters around a part of the text.
    pub(super) fn brackets(self) -> [char; 2] {
        [self.call(0), self.call(1)]
    }

    fn index(self, letter: char, from: u32) -> Option<usize> {
        let index = u32::from(letter).checked_sub(self.first + from)?;
        (index < self.turns).then_some(index as usize)
    }
}

/// The letters in a text, as they stand or as Python and JSON escape them.
pub(super) fn letters_in(text: &str) -> BTreeSet<char> {
    let hex = |at: usize, digits: usize| u32::from_str_radix(text.get(at..at + digits)?, 16).ok();
    let letter = |(at, letter): (usize, char)| match (letter, text[at..].get(1..2)) {
        ('\\', Some("U")) => char::from_u32(hex(at + 2, 8)?),
        ('\\', Some("u")) => {
            let units = [hex(at + 2, 4)? as u16, hex(at + 8, 4)? as u16];
            char::decode_utf16(units).next()?.ok()
        }
        _ => Some(letter),
    };
    let ours = |letter: &char| u32::from(*letter) >= Letters::FIRST;
    text.char_indices().filter_map(letter).filter(ours).collect()
}
