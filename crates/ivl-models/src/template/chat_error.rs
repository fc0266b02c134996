//! Errors of chat templates.

use std::path::PathBuf;

use crate::{FileError, TokenizerError};

/// Errors of a chat template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The template is not valid Jinja.
    #[error("the chat template in `{}` does not compile", path.display())]
    Compile {
        /// The file of the template.
        path: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        source: minijinja::Error,
    },
    /// The template failed on these messages, or refused them.
    #[error("the chat template in `{}` cannot render these messages", path.display())]
    Render {
        /// The file of the template.
        path: PathBuf,
        /// The line and the reason.
        #[source]
        source: minijinja::Error,
    },
    /// The template refuses these messages.
    #[error("the chat template in `{}` refuses these messages: {reason}", path.display())]
    Refused {
        /// Where it stands.
        path: PathBuf,
        /// Its message.
        reason: String,
    },
    /// A further variable has the name of one that every template gets.
    #[error("`{name}` is a variable that every chat template gets, so it cannot be set as a further one")]
    ReservedVariable {
        /// Its name.
        name: &'static str,
    },
    /// A part of a message that is no text.
    #[error(
        "part of kind `{kind}` in turn {turn} (counted from 0): a language model reads text only, so the chat template in `{}` \
         cannot show it; leave it out or write it as text", path.display()
    )]
    PartNotText {
        /// The template.
        path: PathBuf,
        /// Which turn.
        turn: usize,
        /// Its type.
        kind: String,
    },
    /// The template shows nothing of what a role says.
    #[error(
        "the chat template in `{}` shows nothing that `{role}` says, first in turn {turn} (counted from 0); use a role that it \
         knows, or another template", path.display()
    )]
    RoleNotShown {
        /// Where it stands.
        path: PathBuf,
        /// Its first turn.
        turn: usize,
        /// The role.
        role: String,
    },
    /// The template shows no calls of tools.
    #[error(
        "the chat template in `{}` shows no calls of tools, but turn {turn} (counted from 0) has some; use a template for tools, \
         or write the calls as text", path.display()
    )]
    CallsNotShown {
        /// Where it stands.
        path: PathBuf,
        /// The first turn with calls.
        turn: usize,
    },
    /// Neither the base nor a value has a template.
    #[error(
        "no chat template in {searched}; add a chat_template.jinja to one of them, or give a file with a template"
    )]
    NoTemplate {
        /// Where templates were looked for.
        searched: String,
    },
    /// The files with special tokens cannot be read.
    #[error(transparent)]
    SpecialTokens(#[from] TokenizerError),
    /// The template omits an assistant turn.
    #[error(
        "the chat template in `{}` does not show turn {turn} (counted from 0), so the turn cannot be trained; use a template \
         that shows every assistant turn", path.display()
    )]
    TurnDropped {
        /// The file of the template.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template shows an assistant turn more than once, or out of order.
    #[error(
        "the chat template in `{}` shows turn {turn} (counted from 0) twice or out of order, so its tokens cannot \
         be identified; use a template that shows every turn once and in order", path.display()
    )]
    TurnMoved {
        /// The file of the template.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template changes the text of an assistant turn.
    #[error(
        "the chat template in `{}` changes the text of turn {turn} (counted from 0) beyond surrounding white space; use a \
         template that keeps it", path.display()
    )]
    TurnChanged {
        /// The file of the template.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template has generation blocks that mark no assistant turn.
    #[error(
        "the chat template in `{}` has generation blocks, but none around an assistant turn of these messages; put \
         them around the assistant's content",
        path.display()
    )]
    NothingMarked {
        /// The file of the template.
        path: PathBuf,
    },
    /// Too few unused letters to mark the turns.
    #[error("cannot mark {turns} turns: the texts use too many letters of the last private plane of Unicode")]
    NoLetters {
        /// Turns.
        turns: usize,
    },
}

impl ChatError {
    /// The error of the messages without file names, for clients that send messages.
    pub fn without_path(&self) -> String {
        match self {
            Self::Refused { reason, .. } => format!("the chat template refuses these messages: {reason}"),
            Self::ReservedVariable { .. } => self.to_string(),
            Self::PartNotText { turn, kind, .. } => {
                format!("turn {turn} (counted from 0) has a part of kind `{kind}`, which is no text")
            }
            Self::RoleNotShown { turn, role, .. } => {
                format!(
                    "the chat template shows nothing that `{role}` says, first in turn {turn} (counted from 0)"
                )
            }
            Self::CallsNotShown { turn, .. } => {
                format!(
                    "the chat template shows no calls of tools, but turn {turn} (counted from 0) has some"
                )
            }
            _ => "the model's chat template does not take these messages".to_owned(),
        }
    }
}
