//! A base whose values are consulted where a gate opens.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use super::FusedLm;
use crate::cache::Cache;
use crate::cache::GatedCache;
use crate::causal_lm::{CausalLm, SelectedComponents, index_tensor};
use crate::cross_tokenizer::retokenized_value::host_ids;
use crate::decode::generate::{PREFILL, to_host};
use crate::error::Error;
use crate::fusion::LogitComponents;
use crate::fusion::gate::{Gate, GateLog};
use crate::vocab::Vocab;

/// A base with values that are consulted where a [`Gate`] opens: there the logits are those of the [`FusedLm`], elsewhere
/// the base's.
///
/// A value that is not consulted reads nothing. When it is consulted again, it reads what it has missed and the new tokens
/// in one pass, so a skipped position saves a pass of the value in decoding, and reads nothing twice.
///
/// In a batch each row has a gate of its own, but the rows are read together: when one consults the values, they read the
/// missing tokens of all.
///
/// It is itself a [`CausalLm`]. RowWeights do not join a batch or leave padding behind ([`DecodeBatch`](crate::fusion::DecodeBatch)): values of
/// different rows would lag differently.
pub struct GatedLm {
    fused: FusedLm,
    gate: Gate,
    log: Arc<GateLog>,
}

/// A position of a batch of new tokens.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
}

impl GatedLm {
    /// Puts a gate before the values of a fused model.
    pub fn new(fused: FusedLm, gate: Gate) -> Self {
        Self { fused, gate, log: Arc::default() }
    }

    /// Counts what the gate does, from now on and by everybody who uses this model.
    pub fn log(&self) -> Arc<GateLog> {
        self.log.clone()
    }

    /// Puts the values beside a base where the gate opens; elsewhere they add nothing.
    ///
    /// # Shapes
    /// - `base` and output: `[n, vocab]`, for `n` places among the new tokens
    /// - `tokens`: `[batch, seq]`, which the base has just read
    fn consult(
        &self,
        base: LogitComponents,
        tokens: Tensor<2, Int>,
        places: &[Place],
        cache: &mut GatedCache,
    ) -> LogitComponents {
        let start = cache.len() - tokens.dims()[1];
        cache.remember(tokens);
        let open = self.open(&base.fused(), places, start, cache);
        if open.is_empty() || self.fused.parts.is_empty() {
            return base.with_silent(self.fused.parts.len());
        }
        let columns = || open.iter().map(|&at| places[at].column);
        let (first, last) = (columns().min().unwrap_or(0), columns().max().unwrap_or(0));
        let mut at = cache.value_len();
        // Of what lies before the first logits wanted, long texts are read in pieces.
        while start + first - at >= PREFILL {
            self.catch_up(at, at + PREFILL, cache);
            at += PREFILL;
        }
        let width = start + last + 1 - at;
        let read = cache.tokens(at, at + width);
        let device = read.device();
        let positions = open.iter().map(|&place| {
            let Place { row, column } = places[place];
            row * width + start + column - at
        });
        let positions = index_tensor(&positions.collect::<Vec<_>>(), &device);
        self.log.count(|counts| counts.value_passes += 1);
        self.fused.parts.iter().zip(&mut cache.values).fold(base, |parts, (part, cache)| {
            let projection = &part.projection;
            let value = part.lm.logits_at(projection.tokens(read.clone()), positions.clone(), cache);
            let value = spread(projection.rows(value), &open, places.len());
            parts.with(projection.apart(value), part.alpha)
        })
    }

    /// Which of the places consult the values.
    fn open(&self, base: &Tensor<2>, places: &[Place], start: usize, cache: &GatedCache) -> Vec<usize> {
        let vocab = base.dims()[1];
        let logits = if self.gate.is_threshold() { to_host(base.clone()) } else { Vec::new() };
        // Padding predicts nothing, and nobody wants the logits before the end of a prompt.
        let predicted = |place: &Place| cache.predicted(place.row, start + place.column);
        let opens = |&at: &usize| {
            let logits = logits.get(at * vocab..(at + 1) * vocab).unwrap_or_default();
            predicted(&places[at]).is_some_and(|predicted| self.gate.opens(logits, predicted))
        };
        let open: Vec<usize> = (0..places.len()).filter(opens).collect();
        let text = places.iter().filter(|place| predicted(place).is_some()).count();
        self.log.count(|counts| {
            counts.positions += text;
            counts.consulted += open.len();
            counts.base_passes += 1;
        });
        open
    }

    /// Lets the values read tokens whose logits nobody wants.
    fn catch_up(&self, from: usize, to: usize, cache: &mut GatedCache) {
        let tokens = cache.tokens(from, to);
        self.log.count(|counts| counts.value_passes += 1);
        for (part, cache) in self.fused.parts.iter().zip(&mut cache.values) {
            part.lm.next_logits(part.projection.tokens(tokens.clone()), cache);
        }
    }
}

/// Puts logits `[places, vocab]` at their places among `count` rows; the others get 0.
fn spread(logits: Tensor<2>, places: &[usize], count: usize) -> Tensor<2> {
    if places.len() == count {
        return logits;
    }
    let ([rows, vocab], device) = (logits.dims(), logits.device());
    // All that is left out has the row of zeros behind the others.
    let mut order = vec![rows; count];
    places.iter().enumerate().for_each(|(row, &place)| order[place] = row);
    let zeros = Tensor::zeros([1, vocab], (&device, logits.dtype()));
    Tensor::cat(vec![logits, zeros], 0).select(0, index_tensor(&order, &device))
}

/// Every position of a batch, row-major.
fn all_places([batch, seq]: [usize; 2]) -> Vec<Place> {
    (0..batch * seq).map(|at| Place { row: at / seq, column: at % seq }).collect()
}

impl CausalLm for GatedLm {
    fn vocab(&self) -> &Vocab {
        self.fused.vocab()
    }

    fn max_positions(&self) -> usize {
        self.fused.max_positions()
    }

    fn device(&self) -> Device {
        self.fused.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        let values = self.fused.parts.iter().map(|part| part.lm.new_cache(padding)).collect();
        Cache::Gated(GatedCache::new(self.fused.base.new_cache(padding), values, padding))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let cache = cache.gated();
        let base = self.fused.base.forward(tokens.clone(), &mut cache.base);
        let (dims, places) = (base.dims(), all_places(tokens.dims()));
        self.consult(LogitComponents::new(base.flatten(0, 1)), tokens, &places, cache).fused().reshape(dims)
    }

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let cache = cache.gated();
        let base = self.fused.base.next_logits(tokens.clone(), &mut cache.base);
        let [batch, seq] = tokens.dims();
        let places: Vec<Place> = (0..batch).map(|row| Place { row, column: seq - 1 }).collect();
        self.consult(LogitComponents::new(base), tokens, &places, cache).fused()
    }

    /// A gate reads the base's logits, so all that are asked for are computed at once.
    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let cache = cache.gated();
        let all = all_places(tokens.dims());
        let places: Vec<Place> = host_ids(positions.clone()).into_iter().map(|at| all[at as usize]).collect();
        let base = self.fused.base.lazy_parts_at(tokens.clone(), positions, &mut cache.base)(0..places.len());
        let parts = self.consult(base, tokens, &places, cache);
        Box::new(move |rows| parts.slice(rows))
    }

    fn alphas(&self) -> Vec<f64> {
        self.fused.alphas()
    }

    fn weights_read(&self) -> usize {
        self.fused.weights_read()
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        self.fused.set_alpha(value, alpha)
    }

    fn on_host(&self) -> bool {
        self.fused.on_host()
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.fused.reads_at_once(positions)
    }

    fn name(&self) -> &str {
        self.fused.name()
    }
}
