//! One generated token.

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// The limit of new tokens, or the end of the context.
    Length,
}

impl FinishReason {
    /// The word of the OpenAI API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One new token of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedToken {
    /// Which prompt.
    pub row: usize,
    /// The token.
    pub token: u32,
    /// Its log-probability under the model.
    pub logprob: f32,
    /// Text that became certain with this token; on the last token, all the rest.
    pub text: String,
    /// Set on the last token of the row.
    pub finish: Option<FinishReason>,
}
