//! Models without weights worth the name, for measuring.

use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Distribution, Tensor};
use ivl_core::Vocab;
use ivl_core::vocab::Token;
use ivl_models::families::read_config;
use ivl_models::{Checkpoint, ModelConfig, Transformer, Weights, initialize};
use serde_json::json;

use crate::args::Common;
use crate::compose::load_lm;
use crate::device::dtype;
use crate::hub::resolve;

/// Standard deviation of random weights.
const STD: f64 = 0.02;

/// Name, width, inner width, layers, heads, key heads, and whether head and embedding are one: Llama with 32,000 tokens.
const SHAPES: [(&str, [usize; 5], bool); 4] = [
    ("24m", [384, 1024, 6, 6, 6], true),
    ("134m", [768, 2048, 12, 12, 12], false),
    ("1b", [2048, 5632, 22, 32, 4], false),
    ("7b", [4096, 11008, 32, 32, 32], false),
];

/// What is measured: a network and a vocabulary of as many tokens as it has logits.
pub struct Model {
    pub name: String,
    pub net: Transformer,
    pub vocab: Vocab,
}

impl Model {
    /// A named shape with random weights, or a model that is loaded.
    pub fn open(name: &str, device: &Device, common: &Common) -> Result<Self> {
        if let Some((_, sizes, tied)) = SHAPES.iter().find(|(shape, ..)| *shape == name) {
            let config = llama(*sizes, *tied)?;
            let net = config.init(device);
            let seed = common.seed.unwrap_or_default();
            let net = match dtype(common) {
                Weights::Packed(format) => initialize(net, seed, STD, format),
                Weights::Tensors(dtype) => draw(net, seed, device, dtype),
            };
            return Ok(Self { name: name.to_owned(), net, vocab: tokens(config.vocab_size) });
        }
        let found = found(name)?;
        let (lm, _) = load_lm(&Checkpoint::open(&found)?, device, dtype(common), common)?;
        let (net, vocab) = lm.into_parts();
        Ok(Self { name: name.to_owned(), net, vocab })
    }

    /// The same in f32, as tensors of a device with autodiff.
    pub fn to_train(name: &str, device: &Device, common: &Common) -> Result<Self> {
        if let Some((_, sizes, tied)) = SHAPES.iter().find(|(shape, ..)| *shape == name) {
            let config = llama(*sizes, *tied)?;
            let net = draw(config.init(device), common.seed.unwrap_or_default(), device, DType::F32);
            return Ok(Self { name: name.to_owned(), net, vocab: tokens(config.vocab_size) });
        }
        let checkpoint = Checkpoint::open(&found(name)?)?;
        let vocab = checkpoint.vocab(&checkpoint.tokenizer()?)?;
        Ok(Self { name: name.to_owned(), net: checkpoint.load(device, DType::F32)?, vocab })
    }
}

/// Draws weights where they are used: billions of numbers from a generator on the host would take minutes.
fn draw(net: Transformer, seed: u64, device: &Device, dtype: DType) -> Transformer {
    device.seed(seed);
    net.map(&mut Drawer { device, dtype })
}

struct Drawer<'a> {
    device: &'a Device,
    dtype: DType,
}

impl ModuleMapper for Drawer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        // The shapes have norms and no biases.
        let numbers: Tensor<D> = match D {
            1 => Tensor::ones(shape, (self.device, DType::F32)),
            _ => Tensor::random(shape, Distribution::Normal(0.0, STD), (self.device, DType::F32)),
        };
        Param::from_tensor(numbers.cast(self.dtype))
    }
}

fn tokens(size: usize) -> Vocab {
    Vocab::new((0..size as u32).map(|id| Some(Token::text(id.to_le_bytes()))).collect())
}

fn found(name: &str) -> Result<PathBuf> {
    let shapes: Vec<&str> = SHAPES.iter().map(|(shape, ..)| *shape).collect();
    resolve(name).with_context(|| format!("`{name}` is none of the shapes {}", shapes.join(", ")))
}

fn llama([hidden, inner, layers, heads, kv_heads]: [usize; 5], tied: bool) -> Result<ModelConfig> {
    let json = json!({
        "model_type": "llama", "vocab_size": 32_000, "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 16_384, "tie_word_embeddings": tied,
    });
    let json = json.as_object().cloned().unwrap_or_default();
    Ok(read_config(&json, "shape".as_ref())?.1)
}
