//! Checkpoints in formats that ivl does not read, and the remedy for each.

use std::path::Path;

use crate::Error;

/// The ends of names of files, and how a user gets from them to a checkpoint.
type Formats = &'static [(&'static str, &'static str)];

const CONVERT: &str = "convert it: in Python, `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` with transformers writes \
                       safetensors";

const WEIGHTS: Formats = &[
    (
        "adapter_model.safetensors",
        "adapter_config.json beside it says which model they belong to; it is missing",
    ),
    ("tf_model.h5", CONVERT),
    ("flax_model.msgpack", CONVERT),
    (".pth", "these are weights as their authors train them; use the Hugging Face version of the model"),
    (
        "consolidated.safetensors",
        "these are weights as their authors train them; use the Hugging Face version of the model",
    ),
    (".onnx", "ONNX is another format; use the Hugging Face directory that it was made from"),
    (".npz", "MLX weights; use the Hugging Face directory that they were made from"),
    (".bin", CONVERT),
    (
        ".safetensors",
        "the name must be model.safetensors, or model.safetensors.index.json must list the shards",
    ),
];

const CONVERT_TOKENIZER: &str = "convert it: in Python, `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` with transformers \
                                 writes tokenizer.json";

const TOKENIZERS: Formats = &[
    ("tokenizer.model", CONVERT_TOKENIZER),
    ("spiece.model", CONVERT_TOKENIZER),
    ("tekken.json", CONVERT_TOKENIZER),
    (".tiktoken", CONVERT_TOKENIZER),
    ("vocab.json", CONVERT_TOKENIZER),
    ("vocab.txt", CONVERT_TOKENIZER),
];

const CONFIGS: Formats = &[
    (
        "params.json",
        "these are weights as their authors train them; use the Hugging Face version of the model",
    ),
    (
        "adapter_config.json",
        "it holds adapters without the config.json of their model; copy that file beside them",
    ),
    ("model_index.json", "it is a pipeline of diffusers, not a language model"),
];

/// The error that a directory lacks `expected`: it names what the directory holds in its place.
pub(super) fn missing(dir: &Path, expected: &'static str) -> Error {
    let formats = match expected {
        "config.json" => CONFIGS,
        "tokenizer.json" => TOKENIZERS,
        _ => WEIGHTS,
    };
    let names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let found = formats.iter().find_map(|(end, advice)| {
        let name = names.iter().filter(|name| name.ends_with(end)).min()?;
        Some((name.clone(), *advice))
    });
    match found {
        Some((found, advice)) => Error::OtherFormat { dir: dir.to_owned(), expected, found, advice },
        None => Error::NotACheckpoint { dir: dir.to_owned(), expected },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_what_is_there_and_what_to_do() {
        for (file, expected, advice) in [
            ("tf_model.h5", "model.safetensors", "save_pretrained"),
            ("pytorch_model-00001-of-00002.bin", "model.safetensors", "save_pretrained"),
            ("consolidated.00.pth", "model.safetensors", "Hugging Face version"),
            (
                "model-00001-of-00002.safetensors",
                "model.safetensors",
                "model.safetensors.index.json must list",
            ),
            ("tokenizer.model", "tokenizer.json", "AutoTokenizer"),
            ("vocab.json", "tokenizer.json", "AutoTokenizer"),
            ("params.json", "config.json", "Hugging Face version"),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join(file), "").expect("writes");
            let message = missing(dir.path(), expected).to_string();
            assert!(
                message.contains(file) && message.contains(expected) && message.contains(advice),
                "{message}"
            );
        }
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(missing(dir.path(), "config.json"), Error::NotACheckpoint { .. }));
    }
}
