//! The files that the weights of a checkpoint are in.

use std::path::{Path, PathBuf};

use crate::FileError;
use crate::gguf::part_files;

/// The files with the weights of a checkpoint, in the order of their names: every safetensors file of a directory, or a GGUF file
/// with its parts.
///
/// # Errors
/// [`FileError::Io`] for a directory that cannot be read.
pub fn weight_files(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    if path.is_file() {
        return Ok(part_files(path));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(FileError::io("read", path))? {
        let file = entry.map_err(FileError::io("read", path))?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
