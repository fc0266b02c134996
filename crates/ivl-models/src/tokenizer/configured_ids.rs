//! Ids of special tokens in `generation_config.json` and `config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::gguf::GgufTextFiles;
use crate::files::read_json;
use crate::{Error, FileError};

/// The ids that a file gives in `field`: a number, a list of them, or nothing.
///
/// # Errors
/// [`Error::InvalidField`] for what is no id of a token.
pub(crate) fn ids(json: &Map<String, Value>, field: &str, path: &Path) -> Result<Vec<u32>, Error> {
    let one = |value: &Value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| Error::InvalidField {
            path: path.to_owned(),
            field: field.to_owned(),
            expected: "the id of a token or a list of ids".to_owned(),
            got: value.to_string(),
        })
    };
    match json.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(one).collect(),
        Some(id) => Ok(vec![one(id)?]),
    }
}

/// `generation_config.json`, if there is one; of a GGUF file, what its metadata says.
///
/// # Errors
/// [`FileError`] for one that cannot be read. A GGUF file that cannot be read says nothing here; its tokenizer reports it.
pub(crate) fn generation_config(dir: &Path) -> Result<Map<String, Value>, FileError> {
    if let Some(files) = GgufTextFiles::of(dir).unwrap_or_default() {
        return Ok(files.generation_config);
    }
    let path = dir.join("generation_config.json");
    if path.is_file() { read_json(&path) } else { Ok(Map::new()) }
}

/// The tokens that begin and end a text by the files of the model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConfiguredIds {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
}

impl ConfiguredIds {
    /// Generation settings go before the configuration. What cannot be read is reported where the checkpoint is opened, not here.
    pub(super) fn from_dir(dir: &Path) -> Self {
        let files = [generation_config(dir), read_json(&dir.join("config.json"))]
            .map(|file: Result<Map<String, Value>, FileError>| file.unwrap_or_default());
        let first = |field: &str| {
            files.iter().find_map(|file| ids(file, field, dir).ok().and_then(|ids| ids.first().copied()))
        };
        Self { bos: first("bos_token_id"), eos: first("eos_token_id") }
    }
}
