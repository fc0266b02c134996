//! Whether a device computes what the CPU computes.

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_models::{Checkpoint, PackedFormat, Transformer, Weights};
use serde_json::{Value, json};

use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};
use crate::hub::resolve;

/// Rows of a batch, of which the second is shorter and padded on the left.
const ROWS: usize = 2;
const PADDING: usize = 5;

/// Tokens of a prompt, where the model reads as many.
const PROMPT: usize = 48;

/// Tokens that follow it, one by one through the cache.
const STEPS: usize = 16;

/// Share of the largest logit that f32 may differ by: matrix units round their operands to 10 bits (TF32).
const F32: f32 = 1e-3;

/// How much further from f32 than the CPU's own arithmetic in the same shorter type a device may be.
const SHORTER: f32 = 2.0;

/// Logits of every token of the batch and of those that follow, and the most probable of the latter.
struct Read {
    logits: Vec<f32>,
    tokens: Vec<u32>,
}

/// A model on a device, compared with the same model on the CPU.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parity {
    /// The model as it was named.
    pub model: String,
    /// The largest difference of a logit.
    pub difference: f32,
    /// The limit of the difference.
    pub limit: f32,
    /// The largest logit.
    pub largest: f32,
    /// Tokens that followed the prompt.
    pub tokens: usize,
    /// Those that are the CPU's.
    pub equal_tokens: usize,
    /// Whether every token has to be equal: in a shorter type a tie may be decided either way.
    exact: bool,
}

impl Parity {
    /// Whether the device computes what the CPU computes.
    pub fn passed(&self) -> bool {
        self.difference <= self.limit && (!self.exact || self.equal_tokens == self.tokens)
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "model": self.model,
            "difference": self.difference,
            "limit": self.limit,
            "largest_logit": self.largest,
            "tokens": self.tokens,
            "equal_tokens": self.equal_tokens,
            "passed": self.passed(),
        })
    }
}

/// Compares a model (a directory or hub name) on a device with ivl's own kernels on the CPU in f32: the logits of a batch of
/// two rows, and sixteen tokens more, one by one through the cache.
///
/// # Errors
/// [`Error::Settings`] for int8 and int4, which are no types of a device's tensors; models that cannot be loaded.
pub fn compare(name: &str, placement: &Placement) -> Result<Parity> {
    let Weights::Tensors(dtype) = placement.for_training().weights else {
        unreachable!("weights for training are tensors")
    };
    if let Weights::Packed(PackedFormat::Blocks(_)) = placement.weights {
        let dtype = placement.dtype_name();
        let reason = format!("{dtype} is not a type of a device's tensors: expected f32, f16 or bf16");
        return Err(Error::Settings { reason });
    }
    let checkpoint = Checkpoint::open(&resolve(name)?)?;
    let cpu = Placement::new("cpu", Dtype::F32)?.device;
    let reference = read(&checkpoint.load(&cpu, PackedFormat::F32)?, None);
    let as_tensors = |device: &Device| -> Result<Read> {
        Ok(read(&checkpoint.load(device, dtype)?, Some(&reference.tokens)))
    };
    let found = as_tensors(&placement.device)?;
    let largest = reference.logits.iter().fold(0.0, |max: f32, logit| max.max(logit.abs()));
    let exact = dtype == DType::F32;
    let limit = match exact {
        true => F32 * largest,
        false => SHORTER * difference(&as_tensors(&cpu)?.logits, &reference.logits).max(F32 * largest),
    };
    Ok(Parity {
        model: name.to_owned(),
        difference: difference(&found.logits, &reference.logits),
        limit,
        largest,
        tokens: reference.tokens.len(),
        equal_tokens: found.tokens.iter().zip(&reference.tokens).filter(|(a, b)| a == b).count(),
        exact,
    })
}

/// The largest difference; infinite if a number is not finite.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest, difference| match difference.is_finite() {
        true => f32::max(largest, difference),
        false => f32::INFINITY,
    })
}

/// Reads a batch of two rows and then, token by token, what follows: the most probable tokens, or those given.
fn read(net: &Transformer, given: Option<&[u32]>) -> Read {
    let (vocab, device) = (net.config().vocab_size, net.device());
    let prompt = net.config().max_positions.saturating_sub(STEPS).clamp(PADDING + 1, PROMPT);
    let ids: Vec<u32> = (0..ROWS * prompt).map(|at| (at * 7919 % vocab) as u32).collect();
    let mut cache = net.new_cache(&[0, PADDING]);
    cache.set_expected_len(prompt);
    let all = net.forward(token_tensor(&ids, ROWS, &device), &mut cache).cast(DType::F32);
    let all: Vec<f32> = all.into_data().iter().collect();
    let rows = all.chunks(prompt * vocab);
    // Padding reads nothing, and what it gives means nothing.
    let mut logits: Vec<f32> =
        rows.clone().zip([0, PADDING]).flat_map(|(row, padding)| &row[padding * vocab..]).copied().collect();
    let mut last: Vec<f32> = rows.flat_map(|row| &row[(prompt - 1) * vocab..]).copied().collect();
    let mut tokens = Vec::new();
    loop {
        tokens.extend(last.chunks(vocab).map(most_probable));
        let done = tokens.len();
        if done == ROWS * STEPS {
            return Read { logits, tokens };
        }
        let next = &given.unwrap_or(&tokens)[done - ROWS..done];
        let step = net.forward(token_tensor(next, ROWS, &device), &mut cache).cast(DType::F32);
        last = step.into_data().iter().collect();
        logits.extend(&last);
    }
}

fn most_probable(logits: &[f32]) -> u32 {
    let by_logit = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    logits.iter().enumerate().max_by(by_logit).map_or(0, |(id, _)| id as u32)
}
