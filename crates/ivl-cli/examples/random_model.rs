//! Writes a Llama with random weights: something of a real shape to measure on.
//!
//! ```text
//! cargo run --release -p ivl-cli --example random_model -- runs/24m 384 6 6
//! ```
//!
//! Arguments are the directory, the width, the layers and the heads; the vocabulary has 32,000 ids, of which the example's
//! tokenizer knows the first.

use std::path::PathBuf;

use burn::tensor::{DType, Device};
use ivl_models::families::read_config;
use ivl_models::{initialize, save};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, hidden, layers, heads] = args.as_slice() else {
        anyhow::bail!("expected DIR WIDTH LAYERS HEADS");
    };
    let (dir, hidden): (PathBuf, usize) = (dir.into(), hidden.parse()?);
    let json = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32_000, "hidden_size": hidden,
        "intermediate_size": hidden * 8 / 3, "num_hidden_layers": layers.parse::<usize>()?,
        "num_attention_heads": heads.parse::<usize>()?, "max_position_embeddings": 2048, "tie_word_embeddings": true,
        "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1,
    });
    let Some(map) = json.as_object() else { anyhow::bail!("not an object") };
    let (_, config) = read_config(map, &dir)?;
    let device = Device::flex();
    std::fs::create_dir_all(&dir)?;
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(PathBuf::from("examples/first-value/large").join(file), dir.join(file))?;
    }
    save(&initialize(config.init(&device), 1, 0.02, DType::F32), map, &dir)?;
    Ok(())
}
