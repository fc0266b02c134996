//! The formats of demonstrations, and the fields of their rows.

use serde::{Deserialize, Serialize};

/// The format of the rows of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `messages`: a list of `role` and `content`.
    Messages,
    /// `conversations`: a list of `from` and `value`.
    Sharegpt,
    /// `instruction`, `output`, and perhaps `input`.
    Alpaca,
    /// `prompt` and `completion`: texts, or lists of messages.
    Completion,
    /// `text`, all of it trained.
    Text,
    /// `chosen` and `rejected`, two answers to one prompt: texts, or lists of messages. The prompt is in `prompt`, or else
    /// what both begin with.
    Preference,
    /// `prompt`, a text or a list of messages: to be answered by a model, not to be trained on.
    Prompt,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Sharegpt,
        Self::Alpaca,
        Self::Completion,
        Self::Text,
        Self::Preference,
        Self::Prompt,
    ];

    /// Whether a row holds two answers to compare, not a demonstration.
    pub fn is_paired(self) -> bool {
        self == Self::Preference
    }

    /// Examples that a row becomes.
    pub(crate) fn examples_per_row(self) -> usize {
        if self.is_paired() { 2 } else { 1 }
    }

    /// Its name in the TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Sharegpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::Completion => "completion",
            Self::Text => "text",
            Self::Preference => "preference",
            Self::Prompt => "prompt",
        }
    }

    /// The fields without which a row is not of this format.
    pub fn required(self) -> &'static [Field] {
        match self {
            Self::Messages => &[Field::Messages],
            Self::Sharegpt => &[Field::Conversations],
            Self::Alpaca => &[Field::Instruction, Field::Output],
            Self::Completion => &[Field::Prompt, Field::Completion],
            Self::Text => &[Field::Text],
            Self::Preference => &[Field::Chosen, Field::Rejected],
            Self::Prompt => &[Field::Prompt],
        }
    }

    /// The optional fields of a row.
    pub fn optional(self) -> &'static [Field] {
        match self {
            Self::Sharegpt => &[
                Field::From,
                Field::Value,
                Field::System,
                Field::Tools,
                Field::Functions,
                Field::TemplateKwargs,
            ],
            Self::Alpaca => &[Field::Input, Field::System, Field::History],
            Self::Messages | Self::Completion | Self::Prompt => &[
                Field::Role,
                Field::Content,
                Field::System,
                Field::Tools,
                Field::Functions,
                Field::TemplateKwargs,
            ],
            Self::Text => &[],
            Self::Preference => &[
                Field::Prompt,
                Field::Role,
                Field::Content,
                Field::System,
                Field::Tools,
                Field::Functions,
                Field::TemplateKwargs,
            ],
        }
    }

    pub(crate) fn knows(self, field: Field) -> bool {
        self.required().contains(&field) || self.optional().contains(&field)
    }
}

/// A field of a row, or of a message in it (the last four), by our name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of the formats")]
pub enum Field {
    Messages,
    Conversations,
    Instruction,
    Input,
    Output,
    Prompt,
    Completion,
    Text,
    Chosen,
    Rejected,
    System,
    History,
    Tools,
    Functions,
    #[serde(rename = "chat_template_kwargs")]
    TemplateKwargs,
    Role,
    Content,
    From,
    Value,
}

impl Field {
    /// Its name in the TOML, and in files that do not say otherwise.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Conversations => "conversations",
            Self::Instruction => "instruction",
            Self::Input => "input",
            Self::Output => "output",
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Text => "text",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::System => "system",
            Self::History => "history",
            Self::Tools => "tools",
            Self::Functions => "functions",
            Self::TemplateKwargs => "chat_template_kwargs",
            Self::Role => "role",
            Self::Content => "content",
            Self::From => "from",
            Self::Value => "value",
        }
    }

    /// Whether it belongs to a message, not to the row.
    pub(crate) fn is_inner(self) -> bool {
        matches!(self, Self::Role | Self::Content | Self::From | Self::Value)
    }
}
