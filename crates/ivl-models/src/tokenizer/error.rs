//! Errors of a tokenizer, and the reading of its files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::gguf::GgufTokenizerError;
use crate::FileError;
use crate::files::read_bounded;

/// Largest `tokenizer.json` that is read.
const LARGEST_FILE: u64 = 256 << 20;

/// Most ids that a vocabulary may span.
pub(super) const MOST_TOKENS: u32 = 1 << 22;

/// Errors of a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not describe a tokenizer.
    #[error("`{}` is not a Hugging Face tokenizer; expected the tokenizer.json of a fast tokenizer", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tokenizer in a GGUF file cannot be used.
    #[error("the tokenizer in `{}` cannot be used", path.display())]
    Gguf {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<GgufTokenizerError>,
    },
    /// The metadata of a GGUF file cannot be read.
    #[error(transparent)]
    Metadata(Box<dyn std::error::Error + Send + Sync>),
    /// An id so large that a table of all ids would not fit in memory.
    #[error("token {token:?} in `{}` has id {id}, expected ids below {MOST_TOKENS}", path.display())]
    IdTooLarge {
        /// Which file.
        path: PathBuf,
        /// The token.
        token: String,
        /// Its id.
        id: u32,
    },
    /// Two tokens with one id.
    #[error("`{}` gives id {id} to both {first:?} and {second:?}; expected one token for each id", path.display())]
    DuplicateId {
        /// Which file.
        path: PathBuf,
        /// The id.
        id: u32,
        /// One token.
        first: String,
        /// The other.
        second: String,
    },
    /// A text could not be tokenized.
    #[error("cannot tokenize the text")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Ids could not be turned back into text.
    #[error("cannot decode the tokens")]
    Decode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TokenizerError {
    /// An error of the tokenizer in a GGUF file.
    pub(crate) fn gguf(path: &Path, source: GgufTokenizerError) -> Self {
        Self::Gguf { path: path.to_owned(), source: Box::new(source) }
    }
}

/// Refuses a file that is larger than any of a tokenizer.
pub(super) fn check_size(path: &Path) -> Result<(), FileError> {
    let got = std::fs::metadata(path).map_err(FileError::io("read", path))?.len();
    if got > LARGEST_FILE {
        let (path, what) = (path.to_owned(), "a tokenizer");
        return Err(FileError::TooLarge { path, what, got, limit: LARGEST_FILE });
    }
    Ok(())
}

/// A JSON object, if its file is there.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>, TokenizerError> {
    if !path.is_file() {
        return Ok(None);
    }
    serde_json::from_slice(&read(path)?)
        .map(Some)
        .map_err(|error| TokenizerError::Invalid { path: path.to_owned(), source: error.into() })
}

/// Reads a file of a tokenizer.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_bounded(path, "a tokenizer", LARGEST_FILE)
}
