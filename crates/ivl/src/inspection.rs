//! The description of a model or value.

use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;
use ivl_models::config::{KeySource, LayerKind, RopeConfig};
use ivl_models::{ModelConfig, ValueCard};
use serde_json::{Value, json};

use crate::error::Result;
use crate::open_checkpoint::OpenCheckpoint;

/// The text of a token, or the name of a control token; bytes that are no character become U+FFFD, and an id without a token its
/// number.
pub fn readable_token(vocab: &Vocab, id: u32) -> String {
    match vocab.token(id) {
        Some(token) => String::from_utf8_lossy(&token.bytes).into_owned(),
        None => format!("[{id}]"),
    }
}

/// Family, parameters, architecture, tokenizer, template and card of a model, as one JSON object. No weight is read.
///
/// # Errors
/// Names that cannot be resolved and files that cannot be read.
pub fn inspect(name: &str) -> Result<Value> {
    let open = OpenCheckpoint::open(name)?;
    let adapters = open.adapters().map(|adapters| {
        let config = &adapters.config;
        json!({
            "base": adapters.base, "rank": config.rank, "alpha": config.alpha, "targets": config.targets,
        })
    });
    let tensors = match adapters {
        Some(_) => open.checkpoint.adapter_tensors()?,
        None => open.checkpoint.tensors()?,
    };
    let dtypes = tensors.dtypes();
    let parameters: u64 = dtypes.values().sum();
    let vocab = &open.vocab;
    let is_control = |id: &u32| vocab.token(*id).is_some_and(|token| token.kind == TokenKind::Control);
    let controls: Vec<String> =
        (0..vocab.size() as u32).filter(is_control).map(|id| readable_token(vocab, id)).collect();
    let end_tokens: Vec<String> =
        open.end_tokens()?.into_iter().map(|id| readable_token(vocab, id)).collect();
    let mut report = json!({
        "path": open.path,
        "family": open.checkpoint.family().model_type,
        "parameters": parameters,
        "dtypes": dtypes,
        "bytes": tensors.size(),
        "architecture": architecture(open.checkpoint.config()),
        "tokenizer": {
            "tokens": vocab.size() - vocab.unknown_ids().len(),
            "logits": vocab.size(),
            "control_tokens": controls,
            "end_tokens": end_tokens,
            "fingerprint": vocab.fingerprint(),
        },
        "chat_template": open.checkpoint.chat_template()?.is_some(),
        "card": ValueCard::read(&open.path)?,
    });
    if let Some(quantization) = open.checkpoint.quantization() {
        report["quantisation"] = json!(quantization.to_string());
    }
    if let Some(gguf) = open.checkpoint.gguf() {
        let text = |key: &str| gguf.metadata().opt_text(key).ok().flatten();
        report["gguf"] = json!({
            "architecture": text("general.architecture"),
            "name": text("general.name"),
            "files": gguf.files().count(),
            "tokenizer": text("tokenizer.ggml.model"),
            "pre_tokenizer": text("tokenizer.ggml.pre"),
        });
    }
    if let Some(adapters) = adapters {
        report["adapters"] = adapters;
    }
    Ok(report)
}

fn architecture(config: &ModelConfig) -> Value {
    let windows: Vec<Option<usize>> = config
        .layers
        .iter()
        .map(|layer| match &layer.kind {
            LayerKind::Full => None,
            LayerKind::Sliding { window } => Some(*window),
        })
        .collect();
    let rope = |rope: &RopeConfig| json!({ "rope_dimensions": rope.dim, "theta": rope.theta, "scaling": format!("{:?}", rope.scaling) });
    let mut ropes: Vec<Value> = config.ropes().map(rope).collect();
    let position = match ropes.len() {
        0 if config.embedding.learned_positions => json!("learned"),
        0 => json!("none"),
        1 => ropes.remove(0),
        _ => json!(ropes),
    };
    let attention = &config.attention;
    let mixers = config.layers.iter().map(|layer| format!("{:?}", layer.mixer));
    let mut said = json!({
        "layers": config.layers.len(),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp.intermediate_size,
        "heads": attention.num_heads,
        "kv_heads": attention.num_kv_heads,
        "head_dim": attention.head_dim,
        "vocab_size": config.vocab_size,
        "max_positions": config.max_positions,
        "tied_head": config.embedding.tied,
        "norm": format!("{:?}", config.norm.kind),
        "activation": format!("{:?}", config.mlp.activation),
        "wiring": format!("{:?}", config.wiring),
        "position": position,
        "sliding_windows": if windows.iter().all(Option::is_none) { Value::Null } else { json!(windows) },
    });
    if config.is_recurrent() {
        said["mixers"] = mixers.collect();
    }
    if config.layers.iter().any(|layer| layer.key_heads.is_some()) {
        let heads = config.layers.iter().map(|layer| config.attention_of(layer));
        said["key_heads"] = heads.map(|own| json!([own.num_kv_heads, own.head_dim])).collect();
    }
    if config.layers.iter().any(|layer| layer.keys != KeySource::Projections) {
        said["keys"] = config.layers.iter().map(|layer| format!("{:?}", layer.keys)).collect();
    }
    if let Some(inputs) = config.layer_inputs {
        said["layer_inputs"] = json!({ "vocab_size": inputs.vocab_size, "width": inputs.width });
    }
    said
}
