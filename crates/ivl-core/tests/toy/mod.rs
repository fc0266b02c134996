//! A small model with a real cache, and its twin in plain f64: the oracle of the property tests.

#![allow(dead_code, unreachable_pub, reason = "`pub` marks what the tests use; each uses a part")]

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ivl_core::cache::{Inputs, LayerCache};
use ivl_core::causal_lm::{CacheBytes, ModelInfo, Positions};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{Cache, CausalLm, Error, ValueStack, Vocab};

pub const DIM: usize = 4;

/// Logits are `W h`, where `h` at position `i` is the sum of the embeddings of all tokens up to `i`, weighted by
/// `1 / (1 + position)`: the order matters, the past matters, padding must not.
///
/// Of an even seed, a toy keeps the weighted embeddings, as attention keeps keys; of an odd seed only their sum, as a recurrent
/// layer does.
#[derive(Debug, Clone)]
pub struct Toy {
    vocab: Vocab,
    embedding: Vec<f32>,
    head: Vec<f32>,
    positions: usize,
    recurrent: bool,
}

/// Pseudo-random numbers in [-1, 1), from a linear congruential generator.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub fn letters(known: usize, size: usize) -> Vocab {
    Vocab::new((0..known).map(|id| Some(Token::text([b'a' + id as u8]))).collect()).padded_to(size)
}

impl Toy {
    pub fn new(seed: u64, vocab: Vocab) -> Self {
        let size = vocab.size();
        let scale = |numbers: Vec<f32>| numbers.into_iter().map(|x| 3.0 * x).collect();
        Self {
            vocab,
            embedding: scale(numbers(seed, size * DIM)),
            head: numbers(seed + 1, DIM * size),
            positions: 64,
            recurrent: seed % 2 == 1,
        }
    }

    /// The same model with another context.
    pub fn with_positions(&self, positions: usize) -> Self {
        Self { positions, ..self.clone() }
    }

    /// Logits after every token, in f64.
    pub fn oracle(&self, ids: &[u32]) -> Vec<Vec<f64>> {
        let size = self.vocab.size();
        let mut hidden = [0.0; DIM];
        let step = |(position, &id): (usize, &u32)| {
            for (d, h) in hidden.iter_mut().enumerate() {
                *h += f64::from(self.embedding[id as usize * DIM + d]) / (1.0 + position as f64);
            }
            let logit =
                |t| hidden.iter().enumerate().map(|(d, h)| h * f64::from(self.head[d * size + t])).sum();
            (0..size).map(logit).collect()
        };
        ids.iter().enumerate().map(step).collect()
    }
}

impl CausalLm for Toy {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn max_positions(&self) -> usize {
        self.positions
    }

    fn device(&self) -> Device {
        Device::flex()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(LayerCache::new(1, padding))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let cache = cache.layers(1)?;
        if !self.recurrent {
            return Ok(self.read(tokens, cache));
        }
        let ([batch, seq], end) = (tokens.dims(), cache.len() + tokens.dims()[1]);
        cache.remember(Inputs::Tokens(tokens));
        let Inputs::Tokens(unread) = cache.remembered(cache.held()..end) else { panic!("tokens") };
        let logits = self.read(unread, cache);
        let [_, read, size] = logits.dims();
        Ok(logits.slice([0..batch, read - seq..read, 0..size]))
    }

    fn info(&self) -> ModelInfo {
        let per_text = if self.recurrent { DIM * size_of::<f32>() } else { 0 };
        ModelInfo::new("toy").cache_bytes(CacheBytes { per_text, ..CacheBytes::default() })
    }
}

impl Toy {
    fn read(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        let (device, size) = (self.device(), self.vocab.size());
        let [batch, seq] = tokens.dims();
        let (start, mark) = (cache.held(), cache.mark(seq));
        let weights: Vec<f32> = (0..batch)
            .flat_map(|row| {
                let padding = cache.padding()[row];
                (start..start + seq)
                    .map(move |i| if i < padding { 0.0 } else { 1.0 / (1.0 + (i - padding) as f32) })
            })
            .collect();
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [batch, seq, 1]), &device);
        let table = Tensor::<2>::from_data(TensorData::new(self.embedding.clone(), [size, DIM]), &device);
        let embedded = table.select(0, tokens.reshape([-1])).reshape([batch, seq, DIM]) * weights;
        let memory = cache.layer(0);
        let mut hidden = Vec::new();
        if self.recurrent {
            for position in 0..seq {
                if mark == Some(position) {
                    memory.marked = Some(memory.state.clone());
                }
                let new: Tensor<4> =
                    embedded.clone().slice([0..batch, position..position + 1]).unsqueeze_dim(1);
                let sum = memory.state.memory.take().map_or(new.clone(), |sum| sum + new);
                hidden.push(sum.clone().squeeze_dim::<3>(1));
                memory.state.memory = Some(sum);
            }
        } else {
            let (all, _) = memory.keys.append(embedded.clone().unsqueeze_dim(1), embedded.unsqueeze_dim(1));
            let all: Tensor<3> = all.squeeze_dim(1);
            hidden.extend((start..start + seq).map(|i| all.clone().slice([0..batch, 0..i + 1]).sum_dim(1)));
        }
        cache.advance(seq);
        let head = Tensor::<2>::from_data(TensorData::new(self.head.clone(), [DIM, size]), &device);
        Tensor::<3>::cat(hidden, 1).reshape([-1, DIM as i64]).matmul(head).reshape([batch, seq, size])
    }
}

/// `log softmax` in f64.
pub fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = logits.iter().map(|l| (l - largest).exp()).sum::<f64>().ln() + largest;
    logits.iter().map(|l| l - total).collect()
}

pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().expect("f32")
}

/// The logits of every token of a text, flat, of the base without values, with the first value, with the first two, and so on.
pub fn cumulative_logits(lm: &dyn ValueStack, ids: &[u32]) -> Vec<Vec<f32>> {
    let tokens = token_tensor(ids, 1, &lm.device());
    let components = lm.component_logits(tokens, Positions::All, &mut lm.new_cache(&[0])).expect("its cache");
    components.rows(0..ids.len()).cumulative_logits().into_iter().map(host).collect()
}
