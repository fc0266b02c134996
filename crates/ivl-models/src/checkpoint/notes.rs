//! Notes about a checkpoint that loads in spite of an oddity.

use std::fmt;
use std::path::PathBuf;

use super::open::Checkpoint;
use super::tensor_files::TensorFiles;
use crate::Error;
use crate::tokenizer::configured_ids::generation_config;
use crate::tokenizer::unused_tokenizer_beside;

/// A remark about a checkpoint. The library returns it; the program shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// `tie_word_embeddings` is true and the files hold another head: the head of the files is used.
    HeadIsNotTied {
        /// The checkpoint.
        dir: PathBuf,
        /// The tensor of the head.
        head: String,
    },
    /// Tensors that carry no weights, such as buffers of rotary encodings, and are not read.
    NotWeights {
        /// The checkpoint.
        dir: PathBuf,
        /// Their names.
        tensors: Vec<String>,
    },
    /// A `generation_config.json` that cannot be read: `config.json` and the tokenizer say what ends a text.
    GenerationConfig {
        /// The checkpoint.
        dir: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A `tokenizer.json` in the directory of a GGUF file that has other tokens than the file: the file's are used.
    OtherTokenizer {
        /// The `tokenizer.json`.
        path: PathBuf,
        /// The first id that differs.
        id: u32,
        /// Its token in the GGUF file.
        used: String,
        /// Its token in the `tokenizer.json`.
        other: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadIsNotTied { dir, head } => write!(
                f,
                "`{}` has a head of its own (`{head}`) although tie_word_embeddings is true in config.json; the head is used, as in \
                 transformers",
                dir.display()
            ),
            Self::NotWeights { dir, tensors } => {
                let (first, count) = (tensors.first().map_or("", String::as_str), tensors.len());
                let tensors = if count == 1 { "tensor" } else { "tensors" };
                write!(
                    f,
                    "`{}` holds {count} {tensors} without weights, such as `{first}`; not read",
                    dir.display()
                )
            }
            Self::GenerationConfig { dir, reason } => {
                write!(f, "generation_config.json in `{}` is not used: {reason}", dir.display())
            }
            Self::OtherTokenizer { path, id, used, other } => write!(
                f,
                "`{}` is not used: its token {id} is {other}, that of the GGUF file is {used}; move it away to be rid of this note",
                path.display()
            ),
        }
    }
}

impl Checkpoint {
    /// The notes about this checkpoint.
    ///
    /// # Errors
    /// As [`tensors`](Self::tensors), if the directory holds weights.
    pub fn notes(&self) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        let dir = self.path().to_owned();
        if let Err(error) = generation_config(self.path()) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            notes.push(Note::GenerationConfig {
                dir: dir.clone(),
                reason: source.unwrap_or(error.to_string()),
            });
        }
        if let Some((path, id, used, other)) = unused_tokenizer_beside(self.path())? {
            notes.push(Note::OtherTokenizer { path, id, used, other });
        }
        if self.gguf().is_none() && !TensorFiles::are_in(self.path()) {
            return Ok(notes);
        }
        if let Some(head) = self.head_of_its_own() {
            notes.push(Note::HeadIsNotTied { dir: dir.clone(), head: head.to_owned() });
        }
        let map = self.weight_map();
        let tensors: Vec<String> =
            self.tensors()?.names().filter(|name| map.ignores(name)).map(str::to_owned).collect();
        if !tensors.is_empty() {
            notes.push(Note::NotWeights { dir, tensors });
        }
        Ok(notes)
    }
}
