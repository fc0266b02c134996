//! The shape of a model from the metadata of its file, with the names that `config.json` has for it.

use serde_json::{Map, Value, json};

use super::file::Gguf;
use super::metadata::MetadataValue;
use crate::Error;

/// Architectures of which layers may have other key heads and inner widths than the first.
const LAYERS_DIFFER: [&str; 1] = ["gemma4"];

/// The metadata below the name of the architecture, such as `llama.block_count`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hyperparameters<'a> {
    pub(super) gguf: &'a Gguf,
    architecture: &'a str,
}

impl<'a> Hyperparameters<'a> {
    pub(super) fn new(gguf: &'a Gguf, architecture: &'a str) -> Self {
        Self { gguf, architecture }
    }

    /// The whole key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// The error that a key has a value that cannot be used.
    pub(super) fn invalid(&self, name: &str, expected: impl Into<String>) -> Error {
        self.gguf.metadata().invalid(&self.key(name), expected)
    }

    pub(super) fn opt_number(&self, name: &str) -> Result<Option<f64>, Error> {
        self.gguf.metadata().opt_number(&self.key(name))
    }

    pub(super) fn opt_text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.gguf.metadata().opt_text(&self.key(name))
    }

    pub(super) fn opt_flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.gguf.metadata().opt_flag(&self.key(name))
    }

    /// A size. A list with one for each layer is a size if all are the same but for zeros, of layers without it.
    pub(super) fn opt_size(&self, name: &str) -> Result<Option<usize>, Error> {
        let key = self.key(name);
        let metadata = self.gguf.metadata();
        let Some(MetadataValue::Array(list)) = metadata.get(&key) else { return metadata.opt_size(&key) };
        let sizes: Option<Vec<i64>> = list.integers().map(|sizes| sizes.filter(|size| *size != 0).collect());
        match sizes.as_deref() {
            Some([first, rest @ ..]) if *first > 0 && rest.iter().all(|size| size == first) => {
                Ok(usize::try_from(*first).ok())
            }
            _ => Err(metadata
                .invalid(&key, "one size above 0 for all layers: ivl has no layers of different sizes")),
        }
    }

    /// A size that must be there.
    pub(super) fn size(&self, name: &str) -> Result<usize, Error> {
        let missing = || Error::MissingField { path: self.gguf.path().to_owned(), field: self.key(name) };
        self.opt_size(name)?.ok_or_else(missing)
    }

    /// As [`opt_size`](Self::opt_size), but of architectures whose layers differ the first of a list.
    fn opt_first_size(&self, name: &str) -> Result<Option<usize>, Error> {
        let list = self.gguf.metadata().get(&self.key(name));
        match list {
            Some(MetadataValue::Array(list)) if LAYERS_DIFFER.contains(&self.architecture) => {
                let first = list.integers().and_then(|mut sizes| sizes.next());
                let first = first.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
                first.map(Some).ok_or_else(|| self.invalid(name, "sizes above 0"))
            }
            _ => self.opt_size(name),
        }
    }

    /// For each layer, whether a list of sizes has one for it.
    pub(super) fn layers_with(&self, name: &str) -> Option<Vec<bool>> {
        let Some(MetadataValue::Array(list)) = self.gguf.metadata().get(&self.key(name)) else { return None };
        Some(list.integers()?.map(|size| size != 0).collect())
    }

    /// Whether feed-forward layers are mixtures of experts.
    pub(super) fn has_experts(&self) -> Result<bool, Error> {
        Ok(self.opt_number("expert_count")?.is_some_and(|experts| experts > 0.0))
    }

    /// Whether a tensor is in the file.
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// What nearly all architectures have.
    pub(super) fn config(&self, model_type: &str, class: &str) -> Result<Map<String, Value>, Error> {
        let mut config = Map::new();
        let mut put = |field: &str, value: Value| drop(config.insert(field.to_owned(), value));
        put("architectures", json!([class]));
        put("model_type", json!(model_type));
        put("vocab_size", json!(self.vocab_size()?));
        put("hidden_size", json!(self.size("embedding_length")?));
        put("num_hidden_layers", json!(self.size("block_count")?));
        let inner = match self.opt_first_size("feed_forward_length")? {
            Some(inner) => inner,
            // Mixtures without dense layers say nothing of their width.
            None if self.has_experts()? => self.size("expert_feed_forward_length")?,
            None => self.size("feed_forward_length")?,
        };
        put("intermediate_size", json!(inner));
        let heads = self.size("attention.head_count")?;
        put("num_attention_heads", json!(heads));
        put("num_key_value_heads", json!(self.opt_first_size("attention.head_count_kv")?.unwrap_or(heads)));
        put("max_position_embeddings", json!(self.size("context_length")?));
        if let Some(width) = self.head_dim()? {
            put("head_dim", json!(width));
        }
        for (field, name) in [
            ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
            ("layer_norm_eps", "attention.layer_norm_epsilon"),
        ] {
            if let Some(eps) = self.opt_number(name)? {
                put(field, json!(eps));
            }
        }
        put("tie_word_embeddings", json!(!self.has_head_of_its_own()));
        for (field, tensor) in [("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_up.bias")] {
            if self.has_tensor(tensor) {
                put(field, json!(true));
            }
        }
        for token in ["bos", "eos"] {
            let key = format!("tokenizer.ggml.{token}_token_id");
            if let Some(id) = self.gguf.metadata().opt_id(&key)? {
                put(&format!("{token}_token_id"), json!(id));
            }
        }
        Ok(config)
    }

    /// Rows of the embedding.
    fn vocab_size(&self) -> Result<usize, Error> {
        let name = "token_embd.weight";
        match self.gguf.tensor(name).map(|tensor| tensor.shape) {
            Some([rows, _]) => Ok(*rows),
            _ => Err(Error::MissingTensor { path: self.gguf.path().to_owned(), tensor: name.to_owned() }),
        }
    }

    /// The width of a head, where the file says it.
    fn head_dim(&self) -> Result<Option<usize>, Error> {
        let (key, value) = (self.opt_size("attention.key_length")?, self.opt_size("attention.value_length")?);
        match (key, value) {
            (Some(key), Some(value)) if key != value => {
                Err(self.invalid("attention.value_length", format!("{key}, the width of keys")))
            }
            _ => Ok(key.or(value)),
        }
    }

    /// Whether each layer has a window: `attention.sliding_window_pattern` lists it, or says which layers have none.
    pub(super) fn sliding_layers(&self, layers: usize, default: usize) -> Result<Vec<bool>, Error> {
        self.layer_flags(["attention.sliding_window_pattern"; 2], layers, default)
    }

    /// A flag for each layer: `list` has them, or `interval` says how many layers have none between them.
    pub(super) fn layer_flags(
        &self,
        [list, interval]: [&str; 2],
        layers: usize,
        default: usize,
    ) -> Result<Vec<bool>, Error> {
        let name = list;
        let Some(MetadataValue::Array(list)) = self.gguf.metadata().get(&self.key(name)) else {
            let pattern = self.opt_size(interval)?.unwrap_or(default);
            return Ok((1..=layers).map(|layer| layer % pattern != 0).collect());
        };
        let flag = |value| match value {
            MetadataValue::Flag(flag) => Some(flag),
            MetadataValue::Integer(number) => Some(number != 0),
            _ => None,
        };
        let flags: Option<Vec<bool>> = list.iter().map(flag).collect();
        flags.filter(|flags| flags.len() == layers).ok_or_else(|| {
            self.invalid(name, format!("a number of layers, or true or false for each of {layers}"))
        })
    }

    /// Whether the head is another matrix than the embedding: converters leave a tied head out, or copy the embedding.
    fn has_head_of_its_own(&self) -> bool {
        let tensor = |name: &str| self.gguf.tensor(name);
        match (tensor("output.weight"), tensor("token_embd.weight")) {
            (Some(head), Some(embedding)) => head.kind != embedding.kind || head.bytes != embedding.bytes,
            _ => false,
        }
    }
}
