//! The identity of a run: a checkpoint of another one is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ivl_models::{FileError, weight_files};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::TrainConfig;
use crate::data::examples::Examples;

/// Settings that may change when a run is resumed: they decide what is written and measured, not what is trained.
const FREE: [&str; 5] = ["output", "checkpoint", "eval", "data.cache", "distill.dir"];

/// Settings that may change when a run is extended.
const LENGTH: [&str; 2] = ["steps.epochs", "steps.max_steps"];

/// Largest file that is read whole for its identity.
const READ_WHOLE: u64 = 16 << 20;

/// Blocks that are read of a larger file, and their size in bytes.
const BLOCKS: u64 = 1024;
const BLOCK: usize = 4096;

/// The parts of a run by name, each with its value or a hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdentity {
    #[serde(default)]
    parts: BTreeMap<String, String>,
}

impl RunIdentity {
    /// Adds a part, such as `chat template`, with its text or a hash of it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parts.insert(name.into(), value.into());
        self
    }

    /// Adds the weights of a directory under a name, such as `weights of the base`. Of large files the size and a thousand
    /// blocks are read: training changes every weight, and a run should not begin with reading gigabytes.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn with_weights(self, name: impl Into<String>, checkpoint: &Path) -> Result<Self, FileError> {
        let mut hash = Sha256::new();
        for path in weight_files(checkpoint)? {
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            sample(&path, &mut hash).map_err(FileError::io("read", &path))?;
        }
        Ok(self.with(name, hex::encode(hash.finalize())))
    }

    /// Adds the settings of a run and its data.
    pub(crate) fn with_run(mut self, config: &TrainConfig, train: &Examples, eval: &Examples) -> Self {
        let settings = serde_json::to_value(config).expect("a configuration is plain data");
        flatten(&settings, "", &mut self.parts);
        for (name, examples) in [("data.train", train), ("data.eval", eval)] {
            for (part, value) in examples.identity() {
                self.parts.insert(format!("{part} of {name}"), value);
            }
        }
        self
    }

    /// The names of the parts in which another run differs, with both values where they are short.
    pub(crate) fn differences(&self, before: &Self, extend: bool) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.parts.keys().chain(before.parts.keys()).collect();
        let differs = |name: &&&String| self.parts.get(**name) != before.parts.get(**name);
        let counts = |name: &&&String| !(extend && LENGTH.contains(&name.as_str()));
        let shown = |name: &String| match (before.parts.get(name), self.parts.get(name)) {
            (Some(before), Some(now)) if before.len() + now.len() <= 40 => {
                format!("`{name}` ({before}, now {now})")
            }
            _ => format!("`{name}`"),
        };
        names.iter().filter(differs).filter(counts).map(|name| shown(name)).collect()
    }
}

/// Adds the size of a file and its bytes, or some blocks of them, evenly spaced.
fn sample(path: &Path, hash: &mut Sha256) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hash.update(size.to_le_bytes());
    if size <= READ_WHOLE {
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes)?;
        hash.update(&bytes);
        return Ok(());
    }
    let mut block = vec![0; BLOCK];
    for index in 0..BLOCKS {
        file.seek(SeekFrom::Start((size - BLOCK as u64) / (BLOCKS - 1) * index))?;
        file.read_exact(&mut block)?;
        hash.update(&block);
    }
    Ok(())
}

/// Every setting by its path, but for those that may change.
fn flatten(value: &Value, path: &str, parts: &mut BTreeMap<String, String>) {
    if FREE.contains(&path) {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(inner, &path, parts);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, inner) in items.iter().enumerate() {
                flatten(inner, &format!("{path}[{index}]"), parts);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            parts.insert(path.to_owned(), text.clone());
        }
        other => {
            parts.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(change: impl FnOnce(&mut Value)) -> RunIdentity {
        let mut table = json!({ "output": "o", "base": "b", "value": {}, "data": { "train": ["a.jsonl"] } });
        change(&mut table);
        let config = TrainConfig::read(table).expect("reads");
        let none = Examples::default();
        RunIdentity::default().with_run(&config, &none, &none)
    }

    #[test]
    fn what_differs_is_named_and_what_may_change_is_not() {
        let before = identity(|_| ());
        let differs = |change: fn(&mut Value), extend| identity(change).differences(&before, extend);
        assert_eq!(differs(|table| table["output"] = json!("p"), false), [""; 0]);
        assert_eq!(differs(|table| table["eval"] = json!({ "every": 5 }), false), [""; 0]);
        assert_eq!(differs(|table| table["checkpoint"] = json!({ "every": 5 }), false), [""; 0]);
        assert_eq!(
            differs(|table| table["optimizer"] = json!({ "learning_rate": 0.5, "weight_decay": 0.5 }), false),
            ["`optimizer.learning_rate`", "`optimizer.weight_decay` (0.01, now 0.5)"]
        );
        assert_eq!(
            differs(|table| table["data"]["train"][0] = json!("b.jsonl"), false),
            ["`data.train[0].path` (a.jsonl, now b.jsonl)"]
        );
        assert_eq!(differs(|table| table["value"]["lora"] = json!({}), true).len(), 4);
        let longer: fn(&mut Value) = |table| table["steps"] = json!({ "epochs": 9 });
        assert_eq!(differs(longer, false), ["`steps.epochs` (3, now 9)"]);
        assert_eq!(differs(longer, true), [""; 0]);
    }

    #[test]
    fn weights_are_told_apart_by_a_part_of_their_bytes() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("model.safetensors");
        let mut bytes = vec![7_u8; (READ_WHOLE + 12_345) as usize];
        let identity = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writes");
            RunIdentity::default().with_weights("weights", dir.path()).expect("reads")
        };
        let before = identity(&bytes);
        assert_eq!(identity(&bytes), before);
        assert_eq!(identity(&bytes[1..]).differences(&before, false), ["`weights`"]);
        for byte in &mut bytes {
            *byte += 1;
        }
        assert_ne!(identity(&bytes), before);
    }
}
