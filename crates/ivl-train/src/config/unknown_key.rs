//! Configurations as people write them: a key that is not known is an error that names the one that was meant.

use ivl_models::{UnknownField, nearest};
use serde::Deserializer;
use serde_json::{Value, json};

use crate::Error;
use crate::config::TrainConfig;

/// How others call our keys, and what is meant.
const SYNONYMS: [(&str, &str); 24] = [
    ("adam_beta1", "optimizer.beta1"),
    ("adam_beta2", "optimizer.beta2"),
    ("adam_epsilon", "optimizer.epsilon"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("eval_steps", "eval.every"),
    ("gradient_accumulation_steps", "steps.accumulation"),
    ("gradient_clipping", "optimizer.max_grad_norm"),
    ("group_by_length", "data.batching = \"by-length\""),
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
        serde_path_to_error::deserialize(table).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.inner().to_string();
            match UnknownField::in_message(&reason) {
                Some(field) => unknown_key(&path, &field),
                None => Error::Config { key: path, source: Box::new(error.into_inner()) },
            }
        })
    }
}

fn unknown_key(path: &str, field: &UnknownField<'_>) -> Error {
    let UnknownField { key, known } = field;
    // Of the path, the table that the key stands in.
    let table = path.strip_suffix(*key).unwrap_or(path).trim_end_matches('.');
    let table = if table == "." { "" } else { table };
    let inside = |key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    let meant = meant(key, known, inside);
    Error::UnknownKey { key: inside(key), meant, known: known.iter().map(|key| (*key).to_owned()).collect() }
}

fn meant(key: &str, siblings: &[&str], inside: impl Fn(&str) -> String) -> Option<String> {
    let all = known_keys();
    let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == key);
    let elsewhere = || all.iter().find(|path| leaf(path) == key).cloned();
    let sibling = || nearest(key, siblings.iter().map(|name| (inside(name), name)));
    let anywhere = || nearest(key, all.iter().map(|path| (path.clone(), leaf(path))));
    synonym.map(|(_, ours)| (*ours).to_owned()).or_else(elsewhere).or_else(sibling).or_else(anywhere)
}

/// Paths of all keys, from a configuration in which all are written out.
fn known_keys() -> Vec<String> {
    let least = json!({ "output": "", "value": { "model": "" }, "data": { "train": [] } });
    let config = serde_json::from_value::<TrainConfig>(least).ok();
    let mut keys = Vec::new();
    collect(&serde_json::to_value(config).unwrap_or_default(), "", &mut keys);
    keys
}

fn collect(value: &Value, path: &str, keys: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
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
