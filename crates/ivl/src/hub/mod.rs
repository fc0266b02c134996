//! Names of models: a directory, a GGUF file, or a name on the Hugging Face hub.

mod gguf_choice;
mod hub_name;
mod repository;

use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::Result;
use hub_name::HubName;

/// The local directory or GGUF file of a model: `name` itself if it is there, else the hub's model of this name, `org/name` or
/// `org/name@revision`. Of a repository of GGUF files, `org/name:Q4_K_M` is the file with this quantisation, and
/// `org/name:FILE.gguf` that file.
///
/// A hub name is downloaded once into the ordinary Hugging Face cache; when the hub cannot be reached, the cache is used.
///
/// # Errors
/// [`Error::UnknownModel`], [`Error::UnfinishedRun`] for the output of a training run that has not ended, [`Error::Hub`],
/// [`Error::HubGguf`] if a repository holds no GGUF file that is meant, or several.
pub fn resolve(name: &str) -> Result<PathBuf> {
    let local = Path::new(name);
    if local.is_dir() {
        if local.join("checkpoints").is_dir() && !local.join("config.json").exists() {
            return Err(Error::UnfinishedRun { path: local.to_owned() });
        }
        return Ok(local.to_owned());
    }
    if local.is_file() {
        return Ok(local.to_owned());
    }
    match HubName::parse(name) {
        Some(id) => id.download(),
        None => Err(Error::UnknownModel { name: name.to_owned() }),
    }
}
