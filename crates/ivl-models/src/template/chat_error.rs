//! What can go wrong with chat templates.

use std::path::PathBuf;

use crate::FileError;

/// What can go wrong with a chat template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The template is no valid Jinja.
    #[error("the chat template in `{}` does not compile", path.display())]
    Compile {
        /// Where it stands.
        path: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        source: minijinja::Error,
    },
    /// The template failed on these messages, or refused them.
    #[error("the chat template in `{}` cannot render these messages", path.display())]
    Render {
        /// Where it stands.
        path: PathBuf,
        /// The line and the reason.
        #[source]
        source: minijinja::Error,
    },
    /// The template leaves out what an assistant says.
    #[error(
        "the chat template in `{}` does not show the words of turn {turn} (counted from 0), so that they cannot be learnt; \
         use a template that shows every assistant's turn", path.display()
    )]
    TurnDropped {
        /// Where it stands.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template shows what an assistant says more than once, or not in its place.
    #[error(
        "the chat template in `{}` shows turn {turn} (counted from 0) twice or out of order, so that its tokens cannot be \
         told apart; use a template that shows every turn once and in order", path.display()
    )]
    TurnMoved {
        /// Where it stands.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template changes what an assistant says.
    #[error(
        "the chat template in `{}` changes the words of turn {turn} (counted from 0) beyond the blanks around them; use a \
         template that shows them as they are", path.display()
    )]
    TurnChanged {
        /// Where it stands.
        path: PathBuf,
        /// Which turn.
        turn: usize,
    },
    /// The template marks nothing as the assistant's.
    #[error(
        "the chat template in `{}` has generation blocks, but none around an assistant's turn of these messages",
        path.display()
    )]
    NothingMarked {
        /// Where it stands.
        path: PathBuf,
    },
    /// More turns than there are letters to mark them with, or a text that uses those letters.
    #[error("cannot mark {turns} turns: the texts use too many letters of the last private plane of Unicode")]
    NoLetters {
        /// Turns.
        turns: usize,
    },
}
