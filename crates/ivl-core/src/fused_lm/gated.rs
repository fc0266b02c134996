//! A base whose values are consulted where a gate opens.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};

use super::{FusedLm, fuse_base};
use crate::cache::GatedCache;
use crate::cross_value::host_ids;
use crate::gate::{Gate, GateLog};
use crate::generate::{PREFILL, to_host};
use crate::rows::put_back;
use crate::{Cache, CausalLm, Error, Vocab, index_tensor};

/// A base with values that are consulted where a [`Gate`] opens: there the logits are those of the [`FusedLm`], elsewhere
/// the base's.
///
/// A value that is not consulted reads nothing. When it is consulted again, it reads what it has missed and the new tokens
/// in one pass, so a skipped position saves a pass of the value in decoding, and reads nothing twice.
///
/// In a batch each row has a gate of its own, but the rows are read together: when one consults the values, they read the
/// missing tokens of all.
///
/// It is itself a [`CausalLm`]. Rows do not join a batch or leave padding behind ([`Batch`](crate::Batch)): values of
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

    /// Adds the values to base logits where the gate opens: the stages of [`CausalLm::forward_stages`].
    ///
    /// # Shapes
    /// - `base` and output: `[n, vocab]`, in f32, for `n` places among the new tokens
    /// - `tokens`: `[batch, seq]`, which the base has just read
    fn stages(
        &self,
        base: Tensor<2>,
        tokens: Tensor<2, Int>,
        places: &[Place],
        cache: &mut GatedCache,
    ) -> Vec<Tensor<2>> {
        let start = cache.len() - tokens.dims()[1];
        cache.remember(tokens);
        let open = self.open(&base, places, start, cache);
        let mut stages = vec![base];
        if open.is_empty() || self.fused.parts.is_empty() {
            stages.resize(self.fused.parts.len() + 1, stages[0].clone());
            return stages;
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
        let consulted = index_tensor(&open, &device);
        let mut fused = stages[0].clone().select(0, consulted);
        self.log.count(|counts| counts.value_passes += 1);
        for (part, cache) in self.fused.parts.iter().zip(&mut cache.values) {
            let value = part.lm.logits_at(part.projection.tokens(read.clone()), positions.clone(), cache);
            fused = part.add(fused, value);
            stages.push(put_back(&stages[0], fused.clone(), &open));
        }
        stages
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
        let base = fuse_base(self.fused.base.forward(tokens.clone(), &mut cache.base));
        let ([batch, seq, vocab], places) = (base.dims(), all_places(tokens.dims()));
        let mut stages = self.stages(base.reshape([batch * seq, vocab]), tokens, &places, cache);
        stages.swap_remove(self.fused.parts.len()).reshape([batch, seq, vocab])
    }

    fn forward_stages(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Vec<Tensor<3>> {
        let cache = cache.gated();
        let mut stages = self.fused.base.forward_stages(tokens.clone(), &mut cache.base);
        let base = stages[stages.len() - 1].clone();
        let ([batch, seq, vocab], places) = (base.dims(), all_places(tokens.dims()));
        let own = self.stages(base.reshape([batch * seq, vocab]), tokens, &places, cache);
        stages.extend(own.into_iter().skip(1).map(|stage| stage.reshape([batch, seq, vocab])));
        stages
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

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let cache = cache.gated();
        let base = fuse_base(self.fused.base.next_logits(tokens.clone(), &mut cache.base));
        let [batch, seq] = tokens.dims();
        let places: Vec<Place> = (0..batch).map(|row| Place { row, column: seq - 1 }).collect();
        self.stages(base, tokens, &places, cache).swap_remove(self.fused.parts.len())
    }

    fn logits_at(&self, tokens: Tensor<2, Int>, positions: Tensor<1, Int>, cache: &mut Cache) -> Tensor<2> {
        let cache = cache.gated();
        let base = self.fused.base.logits_at(tokens.clone(), positions.clone(), &mut cache.base);
        let all = all_places(tokens.dims());
        let places: Vec<Place> =
            host_ids(positions.unsqueeze()).into_iter().map(|at| all[at as usize]).collect();
        self.stages(base.cast(DType::F32), tokens, &places, cache).swap_remove(self.fused.parts.len())
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.fused.reads_at_once(positions)
    }

    fn name(&self) -> &str {
        self.fused.name()
    }
}
