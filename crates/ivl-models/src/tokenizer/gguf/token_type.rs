//! The kind of a token, as `tokenizer.ggml.token_type` numbers it.

/// The kind of a token of a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    /// Text that merges make.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// Adds nothing to a text.
    Control,
    /// Text that is one token wherever it occurs.
    UserDefined,
    /// No text contains it.
    Unused,
    /// One byte by its number.
    Byte,
}

impl TokenType {
    /// The type of a number. 0, which says nothing, is [`Normal`](Self::Normal).
    pub(super) fn of(number: i64) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// Its number.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }
}
