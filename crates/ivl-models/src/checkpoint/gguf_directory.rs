//! Directories whose weights are a GGUF file.

use std::path::{Path, PathBuf};

use super::tensor_files::TensorFiles;
use crate::Error;
use crate::gguf::Gguf;

/// The GGUF model in a directory that holds no other weights; a model in several parts is its first.
///
/// # Errors
/// [`Error::SeveralModels`] if there are several.
pub(super) fn gguf_in(dir: &Path) -> Result<Option<PathBuf>, Error> {
    if TensorFiles::are_in(dir) || dir.join("adapter_config.json").is_file() {
        return Ok(None);
    }
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        path.is_file() && path.file_name().is_some_and(|name| Gguf::is_model_name(name.as_ref()))
    });
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names = several.iter().filter_map(|path| path.file_name());
            let names: Vec<String> = names.map(|name| format!("`{}`", name.to_string_lossy())).collect();
            Err(Error::SeveralModels { dir: dir.to_owned(), names: names.join(", ") })
        }
    }
}
