//! Models of the shapes that are measured: Llama, a vocabulary of 32,000, random weights.

use burn::tensor::Device;
use ivl_core::Vocab;
use ivl_core::vocab::Token;
use ivl_models::families::read_config;
use ivl_models::{PackedFormat, TransformerLm, initialize};

const VOCAB: usize = 32_000;

/// A transformer of `layers` layers of width `hidden`, with `heads` heads.
pub(crate) fn llama(
    [hidden, layers, heads]: [usize; 3],
    tied: bool,
    format: PackedFormat,
    seed: u64,
) -> TransformerLm {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": hidden * 8 / 3,
        "num_hidden_layers": layers, "num_attention_heads": heads, "max_position_embeddings": 2048,
        "tie_word_embeddings": tied,
    });
    let map = json.as_object().expect("an object");
    let (_, config) = read_config(map, "bench".as_ref()).expect("a configuration");
    let device = Device::flex();
    let vocab = Vocab::new((0..VOCAB as u32).map(|id| Some(Token::text(id.to_le_bytes()))).collect());
    let net = initialize(config.init(&device), seed, 0.02, format);
    TransformerLm::new(net, vocab, "bench")
}
