//! Letters that occur nowhere in a conversation, to find out where a template puts what.

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

    /// The letters around what a turn says; the first also stands for the function that it calls.
    pub(super) fn around(self, turn: usize) -> [char; 2] {
        [0, 1].map(|side| self.letter(self.turns + 2 * turn as u32 + side))
    }

    /// The turn that a letter is the first one around.
    pub(super) fn turn_opened_by(self, letter: char) -> Option<usize> {
        let index = u32::from(letter).checked_sub(self.first + self.turns)?;
        (index < 2 * self.turns && index.is_multiple_of(2)).then_some(index as usize / 2)
    }

    /// Whether a letter is one of [`turn`](Self::turn).
    pub(super) fn is_turn(self, letter: char) -> bool {
        (self.first..self.first + self.turns).contains(&u32::from(letter))
    }

    /// Whether a letter is one of these at all.
    pub(super) fn is_ours(self, letter: char) -> bool {
        (self.first..self.first + 3 * self.turns).contains(&u32::from(letter))
    }
}

/// Whether a text has a letter, as it stands or as Python and JSON escape it.
pub(super) fn has_letter(text: &str, letter: char) -> bool {
    let mut units = [0; 2];
    let mut escaped = String::new();
    for unit in letter.encode_utf16(&mut units) {
        escaped += &format!("\\u{unit:04x}");
    }
    text.contains(letter)
        || text.contains(&format!("\\U{:08x}", u32::from(letter)))
        || text.contains(&escaped)
}
