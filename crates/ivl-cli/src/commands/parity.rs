//! `ivl parity`: whether a device computes what the CPU computes.

use std::io::Write;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_models::{Checkpoint, PackedFormat, Transformer, Weights};
use serde_json::{Value, json};

use crate::args::{self, Common, Dtype};
use crate::device::{cpu, device, shared_dtype};
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

/// A model on the device beside the same on the CPU.
struct Compared {
    model: String,
    difference: f32,
    /// What the difference may be.
    limit: f32,
    largest: f32,
    tokens: usize,
    equal_tokens: usize,
    /// Whether every token has to be equal: in a shorter type a tie may be decided either way.
    exact: bool,
}

pub fn run(args: &args::Parity, common: &Common) -> Result<()> {
    let (device, weights) = (device(common)?, shared_dtype(common));
    let (Weights::Tensors(dtype), true) = (weights, common.dtype != Dtype::Int8) else {
        bail!("--dtype int8 is no type of a device's tensors: expected f32, f16 or bf16")
    };
    let mut out = std::io::stdout().lock();
    if !common.json {
        writeln!(out, "{} on {}, beside f32 on the CPU", weights.name(), common.device)?;
        writeln!(out, "{:28} {:>12} {:>10} {:>8}", "", "difference", "limit", "tokens")?;
    }
    let mut differ = Vec::new();
    for name in &args.models {
        let compared = compare(name, &device, dtype)?;
        if common.json {
            let mut line = compared.json();
            line["device"] = common.device.as_str().into();
            line["dtype"] = weights.name().into();
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", compared.line())?;
        }
        if !compared.passed() {
            differ.push(compared.model);
        }
    }
    match differ.as_slice() {
        [] => Ok(()),
        _ => bail!(
            "`{}` in {} differs from the CPU on {} of {} models: {}",
            common.device,
            weights.name(),
            differ.len(),
            args.models.len(),
            differ.join(", ")
        ),
    }
}

fn compare(name: &str, device: &Device, dtype: DType) -> Result<Compared> {
    let checkpoint = Checkpoint::open(&resolve(name)?)?;
    let cpu = cpu()?;
    let reference = read(&checkpoint.load(&cpu, PackedFormat::F32)?, None);
    let as_tensors = |device: &Device| -> Result<Read> {
        Ok(read(&checkpoint.load(device, dtype)?, Some(&reference.tokens)))
    };
    let found = as_tensors(device)?;
    let largest = reference.logits.iter().fold(0.0, |max: f32, logit| max.max(logit.abs()));
    let exact = dtype == DType::F32;
    let limit = match exact {
        true => F32 * largest,
        false => SHORTER * difference(&as_tensors(&cpu)?.logits, &reference.logits).max(F32 * largest),
    };
    Ok(Compared {
        model: name.to_owned(),
        difference: difference(&found.logits, &reference.logits),
        limit,
        largest,
        tokens: reference.tokens.len(),
        equal_tokens: found.tokens.iter().zip(&reference.tokens).filter(|(a, b)| a == b).count(),
        exact,
    })
}

/// The largest difference; infinite if a number is none.
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

impl Compared {
    fn passed(&self) -> bool {
        self.difference <= self.limit && (!self.exact || self.equal_tokens == self.tokens)
    }

    fn json(&self) -> Value {
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

    fn line(&self) -> String {
        let name = std::path::Path::new(&self.model).file_name().map(|name| name.to_string_lossy());
        format!(
            "{:28} {:>12.2e} {:>10.2e} {:>8}{}",
            name.as_deref().unwrap_or(&self.model),
            self.difference,
            self.limit,
            format!("{}/{}", self.equal_tokens, self.tokens),
            if self.passed() { "" } else { "  differs" },
        )
    }
}
