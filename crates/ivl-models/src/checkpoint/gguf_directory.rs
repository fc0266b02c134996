//! Directories whose weights are a GGUF file.

use std::path::{Path, PathBuf};

use super::tensor_files::TensorFiles;
use crate::Error;
use crate::gguf::{Gguf, is_later_part};

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
        // Projectors of pictures lie beside the models that they belong to.
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        Gguf::is_named_so(path) && path.is_file() && !is_later_part(path) && !name.contains("mmproj")
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
