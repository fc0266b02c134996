//! The files that the weights of a checkpoint are in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::FileError;
use crate::gguf::part_files;

/// The files with the weights of a checkpoint, in the order of their names: every safetensors file of a directory, or without one
/// every file of PyTorch, or a GGUF file with its parts.
///
/// # Errors
/// [`FileError::Io`] for a directory that cannot be read.
pub fn weight_files(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    if path.is_file() {
        return Ok(part_files(path));
    }
    let (mut files, mut pickled) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path).map_err(FileError::io("read", path))? {
        let file = entry.map_err(FileError::io("read", path))?.path();
        let extension = file.extension().and_then(OsStr::to_str);
        let is_pickled =
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pytorch_model"));
        match extension {
            Some("safetensors") => files.push(file),
            Some("bin") if is_pickled => pickled.push(file),
            _ => {}
        }
    }
    if files.is_empty() {
        files = pickled;
    }
    files.sort();
    Ok(files)
}
