//! A row as a model sees it: prompt, choices, and what is right.

/// A row as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// Number of the row, from 0.
    pub(crate) id: usize,
    /// The prompt; empty for the likelihood of a text.
    pub(crate) context: String,
    /// For a choice, what is scored: delimiter and choice.
    pub(crate) continuations: Vec<String>,
    /// For a choice, the choices by themselves.
    pub(crate) choices: Vec<String>,
    /// The target.
    pub(crate) gold: Gold,
}

/// The target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gold {
    /// Numbers of choices, from 0; none of them may exist.
    Choices(Vec<usize>),
    /// Texts, each of which is right. For a perplexity, the text that is scored.
    Texts(Vec<String>),
}

impl Gold {
    /// The first text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Texts(texts) => texts.first().map_or("", String::as_str),
            Self::Choices(_) => "",
        }
    }
}
