//! `ivl inspect`: what a model or value is.

use anyhow::Result;
use ivl_models::config::{LayerKind, Position};
use ivl_models::{Checkpoint, ModelConfig, ValueCard};
use serde_json::{Value, json};

use crate::args::{Common, Inspect};
use crate::hub::resolve;
use crate::tokens::{is_control, readable};

pub fn run(args: &Inspect, common: &Common) -> Result<()> {
    let dir = resolve(&args.model)?;
    let checkpoint = Checkpoint::open(&dir)?;
    let config = checkpoint.config();
    let tensors = checkpoint.tensors()?;
    let dtypes = tensors.dtypes();
    let parameters: u64 = dtypes.values().sum();
    let tokenizer = checkpoint.tokenizer()?;
    let vocab = checkpoint.vocab(&tokenizer)?;
    let controls: Vec<String> = (0..vocab.size() as u32)
        .filter(|&id| is_control(&vocab, id))
        .map(|id| readable(&vocab, id))
        .collect();
    let end_tokens: Vec<String> =
        checkpoint.end_tokens(&tokenizer)?.into_iter().map(|id| readable(&vocab, id)).collect();
    let template = checkpoint.chat_template()?;
    let card = ValueCard::read(&dir)?;
    let report = json!({
        "path": dir,
        "family": checkpoint.family().model_type,
        "parameters": parameters,
        "dtypes": dtypes,
        "bytes": tensors.size(),
        "architecture": architecture(config),
        "tokenizer": {
            "tokens": vocab.size() - vocab.unknown_ids().len(),
            "logits": vocab.size(),
            "control_tokens": controls,
            "end_tokens": end_tokens,
            "fingerprint": vocab.fingerprint(),
        },
        "chat_template": template.is_some(),
        "card": card,
    });
    if common.json {
        println!("{report}");
        return Ok(());
    }
    show(&report, 0);
    Ok(())
}

fn architecture(config: &ModelConfig) -> Value {
    let windows: Vec<Option<usize>> = config
        .layers
        .iter()
        .map(|kind| match kind {
            LayerKind::Full => None,
            LayerKind::Sliding { window } => Some(*window),
        })
        .collect();
    let position = match &config.position {
        Position::Learned => json!("learned"),
        Position::Rope(rope) => {
            json!({ "rope_dimensions": rope.dim, "theta": rope.theta, "scaling": format!("{:?}", rope.scaling) })
        }
    };
    let attention = &config.attention;
    json!({
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
    })
}

/// Prints an object as indented lines, without what is null.
fn show(value: &Value, depth: usize) {
    let Value::Object(map) = value else { return };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                println!("{indent}{key}:");
                show(value, depth + 1);
            }
            Value::String(text) => println!("{indent}{key}: {text}"),
            other => println!("{indent}{key}: {other}"),
        }
    }
}
