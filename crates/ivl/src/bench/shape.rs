//! Models without weights worth the name, for measuring.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Distribution, Tensor};
use ivl_core::Vocab;
use ivl_core::vocab::Token;
use ivl_models::families::read_config;
use ivl_models::{ModelConfig, Transformer, Weights, initialize};
use serde_json::json;

use super::config::BenchConfig;
use crate::device::Placement;
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// Standard deviation of random weights.
const STD: f64 = 0.02;

/// Name, width, inner width, layers, heads, key heads, and whether head and embedding are one: Llama with 32,000 tokens.
const SHAPES: [(&str, [usize; 5], bool); 4] = [
    ("24m", [384, 1024, 6, 6, 6], true),
    ("134m", [768, 2048, 12, 12, 12], false),
    ("1b", [2048, 5632, 22, 32, 4], false),
    ("7b", [4096, 11008, 32, 32, 32], false),
];

/// The measured model: a network, and a vocabulary with one token per logit.
pub(super) struct BenchModel {
    pub(super) name: String,
    pub(super) net: Transformer,
    pub(super) vocab: Vocab,
}

impl BenchModel {
    /// A named shape with random weights, or a model that is loaded.
    pub(super) fn open(name: &str, placement: &Placement, config: &BenchConfig) -> Result<Self> {
        let device = &placement.device;
        if let Some(shape) = shape(name)? {
            let net = shape.init(device);
            let net = match placement.weights {
                packed @ (Weights::Packed(_) | Weights::Stored) => initialize(net, config.seed, STD, packed),
                Weights::Tensors(dtype) => draw(net, config.seed, device, dtype),
            };
            config.options.kv_cache_dtype.check(&[placement.weights])?;
            let net = config.options.kv_cache_dtype.apply(net);
            return Ok(Self { name: name.to_owned(), net, vocab: tokens(shape.vocab_size) });
        }
        let lm = open(name)?.load(None, placement, &config.options)?;
        let (net, vocab) = lm.into_parts();
        Ok(Self { name: name.to_owned(), net, vocab })
    }

    /// The same in f32, as tensors of a device with autodiff.
    pub(super) fn for_training(name: &str, device: &Device, config: &BenchConfig) -> Result<Self> {
        if let Some(shape) = shape(name)? {
            let net = draw(shape.init(device), config.seed, device, DType::F32);
            return Ok(Self { name: name.to_owned(), net, vocab: tokens(shape.vocab_size) });
        }
        let open = open(name)?;
        let net = open.load_for_training(device)?;
        Ok(Self { name: name.to_owned(), net, vocab: open.vocab })
    }
}

/// The configuration of a named shape; `None` if no shape has the name.
fn shape(name: &str) -> Result<Option<ModelConfig>> {
    let found = SHAPES.iter().find(|(shape, ..)| *shape == name);
    found.map(|(_, sizes, tied)| llama(*sizes, *tied)).transpose()
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

fn open(name: &str) -> Result<OpenCheckpoint> {
    OpenCheckpoint::open(name).map_err(|source| match source {
        Error::UnknownModel { name } => {
            let expected = SHAPES.iter().map(|(shape, ..)| *shape).collect();
            Error::UnknownShape { name, expected }
        }
        other => other,
    })
}

fn llama([hidden, inner, layers, heads, kv_heads]: [usize; 5], tied: bool) -> Result<ModelConfig> {
    let json = json!({
        "model_type": "llama", "vocab_size": 32_000, "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 16_384, "tie_word_embeddings": tied,
    });
    let json = json.as_object().cloned().expect("an object");
    Ok(read_config(&json, "shape".as_ref())?.1)
}
