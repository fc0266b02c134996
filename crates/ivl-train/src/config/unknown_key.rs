//! Configurations as people write them: a key that is not known is an error that names the one that was meant.

use ivl_models::nearest;
use serde::{Deserialize, Deserializer};
use serde_ignored::Path;
use serde_json::{Value, json};

use crate::Error;
use crate::config::{Preset, TrainConfig};

/// How others call our keys, and what is meant.
const SYNONYMS: [(&str, &str); 26] = [
    ("adam_beta1", "optimizer.beta1"),
    ("adam_beta2", "optimizer.beta2"),
    ("adam_epsilon", "optimizer.epsilon"),
    ("beta", "dpo.beta"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("eval_steps", "eval.every"),
    ("gradient_accumulation_steps", "steps.accumulation"),
    ("gradient_clipping", "optimizer.max_grad_norm"),
    ("group_by_length", "data.batching = \"by-length\""),
    ("loss_type", "dpo.loss"),
    ("lr", "optimizer.learning_rate"),
    ("lr_scheduler_type", "optimizer.schedule"),
    ("max_seq_len", "data.max_length"),
    ("max_seq_length", "data.max_length"),
    ("model_name_or_path", "value.model"),
    ("num_epochs", "steps.epochs"),
    ("num_train_epochs", "steps.epochs"),
    ("output_dir", "output"),
    ("packing", "data.batching = \"packed\""),
    ("per_device_eval_batch_size", "eval.batch_size"),
    ("per_device_train_batch_size", "steps.batch_size"),
    ("save_steps", "checkpoint.every"),
    ("save_total_limit", "checkpoint.keep"),
    ("seq_len", "data.max_length"),
    ("train_file", "data.train"),
];

impl TrainConfig {
    /// Reads a configuration from a table of any kind (TOML, JSON).
    ///
    /// # Errors
    /// [`Error::UnknownKey`] names the key that was probably meant; [`Error::Config`] names the key with a wrong value.
    pub fn read<'de, D: Deserializer<'de>>(table: D) -> Result<Self, Error>
    where
        D::Error: Send + Sync + 'static,
    {
        let mut table = Value::deserialize(table)
            .map_err(|error| Error::Config { key: ".".to_owned(), source: Box::new(error) })?;
        Preset::fill(&mut table);
        let mut unknown = None;
        let mut note = |path: Path<'_>| {
            unknown.get_or_insert_with(|| UnknownKey::new(&path));
        };
        let config = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(table, &mut note));
        // A key that is missing may be the one that was misspelt.
        match (unknown, config) {
            (Some(key), _) => Err(key.error()),
            (None, Ok(config)) => Ok(config),
            (None, Err(error)) => {
                let key = error.path().to_string();
                Err(Error::Config { key, source: Box::new(error.into_inner()) })
            }
        }
    }
}

/// A key that its table does not have.
struct UnknownKey {
    /// The table, such as `data.train[0]`; empty for the outermost.
    table: String,
    key: String,
}

impl UnknownKey {
    fn new(path: &Path<'_>) -> Self {
        match path {
            Path::Map { parent, key } => Self { table: name(parent), key: key.clone() },
            other => Self { table: String::new(), key: name(other) },
        }
    }

    fn error(self) -> Error {
        let Self { table, key } = &self;
        let all = known_keys();
        let siblings = siblings(&all, table);
        let meant = meant(key, &siblings, &all, |key| joined(table, key));
        Error::UnknownKey { key: joined(table, key), meant, known: siblings }
    }
}

/// A path as the TOML would spell it.
fn name(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", name(parent)),
        Path::Map { parent, key } => joined(&name(parent), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            name(parent)
        }
    }
}

fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// The keys of a table; every element of a list has those of the first.
fn siblings(all: &[String], table: &str) -> Vec<String> {
    let first = table.split('[').enumerate().map(|(part, text)| match text.split_once(']') {
        Some((_, rest)) if part > 0 => format!("[0]{rest}"),
        _ => text.to_owned(),
    });
    let table: String = first.collect();
    let inside = all.iter().filter_map(|path| match path.rsplit_once('.') {
        Some((parent, leaf)) => (parent == table).then(|| leaf.to_owned()),
        None => table.is_empty().then(|| path.clone()),
    });
    inside.collect()
}

fn meant(key: &str, siblings: &[String], all: &[String], inside: impl Fn(&str) -> String) -> Option<String> {
    if let Some((_, ours)) = SYNONYMS.iter().find(|(theirs, _)| *theirs == key) {
        return Some((*ours).to_owned());
    }
    // Keys inside a list are meant only there.
    let elsewhere: Vec<(&String, &str)> =
        all.iter().filter(|path| !path.contains('[')).map(|path| (path, leaf(path))).collect();
    if let Some((path, _)) = elsewhere.iter().find(|(_, leaf)| *leaf == key) {
        return Some((*path).clone());
    }
    nearest(key, siblings.iter().map(|name| (inside(name), name)))
        .or_else(|| nearest(key, elsewhere).cloned())
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Paths of all keys, from a configuration in which all are written out.
fn known_keys() -> Vec<String> {
    let full = json!({
        "output": "",
        "bases": [{ "model": "" }],
        "base_logits": { "dir": "" },
        "distill": { "teacher": "", "values": [{ "model": "" }] },
        "dpo": {},
        "value": { "lora": {} },
        "data": { "train": [""], "eval": [""] },
    });
    let config: TrainConfig = serde_json::from_value(full).expect("a configuration with its required keys");
    let mut keys = Vec::new();
    collect(&serde_json::to_value(config).expect("a configuration is plain data"), "", &mut keys);
    keys
}

fn collect(value: &Value, path: &str, keys: &mut Vec<String>) {
    if let Some(first) = value.as_array().and_then(|items| items.first()) {
        collect(first, &format!("{path}[0]"), keys);
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = joined(path, key);
        collect(inner, &path, keys);
        keys.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<TrainConfig, Error> {
        let mut table = json!({ "output": "o", "value": { "model": "m" }, "data": { "train": ["a.jsonl"] } });
        change(&mut table);
        TrainConfig::read(table)
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        read(change).expect_err("refused").to_string()
    }

    #[test]
    fn a_misspelt_key_is_told_what_was_meant() {
        let check = |pointer: [&str; 2], meant: &str| {
            let message = refused(|table| match pointer {
                ["", key] => table[key] = json!(1),
                [section, key] => table[section][key] = json!(1),
            });
            let key = pointer.join(".").trim_start_matches('.').to_owned();
            assert_eq!(message, format!("unknown key `{key}`; did you mean `{meant}`?"));
        };
        check(["optimizer", "lerning_rate"], "optimizer.learning_rate");
        check(["optimizer", "Epsilon"], "optimizer.epsilon");
        check(["", "sed"], "seed");
        check(["data", "chat_tempalte"], "data.chat_template");
        check(["value", "inti_std"], "value.init_std");
        // A key of another table, and keys of others.
        check(["", "max_length"], "data.max_length");
        check(["optimizer", "accumulation"], "steps.accumulation");
        check(["", "per_device_train_batch_size"], "steps.batch_size");
        check(["data", "packing"], "data.batching = \"packed\"");
        let strange = refused(|table| table["steps"]["zzz"] = json!(1));
        assert!(strange.starts_with("unknown key `steps.zzz`; expected one of `epochs`, "), "{strange}");
    }

    #[test]
    fn keys_inside_a_source_and_wrong_values_are_named() {
        let source = refused(|table| table["data"]["train"][0] = json!({ "path": "a", "wieght": 2 }));
        assert_eq!(source, "unknown key `data.train[0].wieght`; did you mean `data.train[0].weight`?");
        let value = read(|table| table["steps"] = json!({ "epochs": "three" })).expect_err("refused");
        assert_eq!(value.to_string(), "`steps.epochs` has a value that cannot be read");
        assert!(std::error::Error::source(&value).expect("a reason").to_string().contains("three"));
        let format = read(|table| table["data"]["train"][0] = json!({ "path": "a", "format": "csv" }));
        assert_eq!(
            format.expect_err("refused").to_string(),
            "`data.train[0].format` has a value that cannot be read"
        );
        let config =
            read(|table| table["data"]["train"][0] = json!({ "path": "a", "weight": 2 })).expect("reads");
        assert_eq!((config.data.train[0].weight, config.data.train[0].format), (2.0, None));
    }

    #[test]
    fn synonyms_mean_keys_that_exist() {
        let keys = known_keys();
        for (_, ours) in SYNONYMS {
            let key = ours.split(' ').next().expect("a key");
            assert!(keys.iter().any(|known| known == key), "{ours}");
        }
    }
}
