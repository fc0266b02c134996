//! The tokenizer of a checkpoint in another directory.

use std::path::Path;

use super::contents::{CheckpointFile, FileKind};
use super::open::Checkpoint;
use crate::files::write_bytes;
use crate::{Error, FileError};

impl Checkpoint {
    /// Writes the files of this checkpoint's tokenizer into a directory, each whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read or written.
    pub fn write_tokenizer(&self, output: &Path) -> Result<(), Error> {
        for name in CheckpointFile::of_kind(FileKind::Tokenizer) {
            let from = self.path().join(name);
            if from.is_file() {
                let bytes = std::fs::read(&from).map_err(FileError::io("read", &from))?;
                write_bytes(&output.join(name), &bytes)?;
            }
        }
        Ok(())
    }
}
