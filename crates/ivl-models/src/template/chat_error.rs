//! Errors of chat templates.

use std::path::PathBuf;

use crate::FileError;

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
