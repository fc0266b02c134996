//! A base whose values are consulted where a gate opens.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use crate::cache::{Cache, GatedCache};
use crate::causal_lm::{CausalLm, ModelInfo, Positions, SelectedLogits, prefill};
use crate::error::Error;
use crate::fusion::{FusedLm, Gate, GateLog, LogitComponents, SelectedComponents, ValueStack};
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{index_tensor, to_host};
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
/// It is itself a [`ValueStack`], and not [`RowWeighted`](crate::RowWeighted): its rows cannot join a
/// [`DecodeBatch`](crate::fusion::DecodeBatch), since the values of different rows would lag differently.
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

    /// Counts what the gate does from now on, in every use of this model.
    pub fn log(&self) -> Arc<GateLog> {
        self.log.clone()
    }

    /// Adds the values to the base where the gate opens; elsewhere they add nothing.
    ///
    /// # Shapes
    /// - `base` and output: `[n, vocab]`, for `n` places among the new tokens
    /// - `tokens`: `[batch, seq]`, which the base has just read
    fn consult(
        &self,
        base: LogitComponents,
        tokens: Tensor<2, Int>,
        places: &[Place],
        cache: &mut GatedCache<Cache>,
    ) -> Result<LogitComponents, Error> {
        let start = cache.len() - tokens.dims()[1];
        cache.remember(tokens);
        let open = self.open(&base.fused(), places, start, cache);
        let columns = || open.iter().map(|&at| places[at].column);
        let (Some(first), Some(last), false) =
            (columns().min(), columns().max(), self.fused.values.is_empty())
        else {
            return Ok(base.with_silent(self.fused.values.len()));
        };
        let mut at = cache.value_len();
        // Before the first logits wanted, a long text is read in whole chunks.
        let skipped = (start + first - at) / PREFILL_CHUNK * PREFILL_CHUNK;
        if skipped > 0 {
            self.catch_up(at, at + skipped, cache)?;
            at += skipped;
        }
        let width = start + last + 1 - at;
        let read = cache.tokens(at, at + width);
        let positions: Vec<usize> =
            open.iter().map(|&place| places[place].row * width + start + places[place].column - at).collect();
        self.log.count(|counts| counts.value_passes += 1);
        let mut components = base;
        for (value, cache) in self.fused.values.iter().zip(&mut cache.values) {
            let tokens = value.projection.tokens(read.clone());
            let logits = value.lm.select_logits(tokens, Positions::Indices(&positions), cache)?.all();
            let logits = spread(value.projection.rows(logits), &open, places.len());
            let term = value.projection.term(&components.base(), logits);
            components = components.with(term, value.alpha);
        }
        Ok(components)
    }

    /// Which of the places consult the values.
    fn open(
        &self,
        base: &Tensor<2>,
        places: &[Place],
        start: usize,
        cache: &GatedCache<Cache>,
    ) -> Vec<usize> {
        let vocab = base.dims()[1];
        let logits = if self.gate.is_threshold() { to_host(base.clone()) } else { Vec::new() };
        // Padding predicts nothing, and the logits before the end of a prompt are not used.
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

    /// Lets the values read tokens whose logits are not used, in chunks.
    fn catch_up(&self, from: usize, to: usize, cache: &mut GatedCache<Cache>) -> Result<(), Error> {
        let tokens = cache.tokens(from, to);
        self.log.count(|counts| counts.value_passes += (to - from).div_ceil(PREFILL_CHUNK));
        for (value, cache) in self.fused.values.iter().zip(&mut cache.values) {
            let read = |chunk| value.lm.next_logits(value.projection.tokens(chunk), cache);
            prefill(tokens.clone(), PREFILL_CHUNK, read)?;
        }
        Ok(())
    }
}

/// Puts logits `[places, vocab]` at their places among `count` rows; the others get 0.
fn spread(logits: Tensor<2>, places: &[usize], count: usize) -> Tensor<2> {
    if places.len() == count {
        return logits;
    }
    let ([rows, vocab], device) = (logits.dims(), logits.device());
    // Places without logits take the row of zeros after the others.
    let mut order = vec![rows; count];
    places.iter().enumerate().for_each(|(row, &place)| order[place] = row);
    let zeros = Tensor::zeros([1, vocab], (&device, logits.dtype()));
    Tensor::cat(vec![logits, zeros], 0).select(0, index_tensor(&order, &device))
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
        let values = self.fused.values.iter().map(|value| value.lm.new_cache(padding)).collect();
        Cache::Gated(Box::new(GatedCache::new(self.fused.base.new_cache(padding), values, padding)))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        let logits = self.select_logits(tokens, Positions::All, cache)?.all();
        Ok(logits.reshape([batch as i64, seq as i64, -1]))
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        Ok(self.component_logits(tokens, at, cache)?.into_logits())
    }

    fn info(&self) -> ModelInfo {
        self.fused.info()
    }
}

impl ValueStack for GatedLm {
    fn alphas(&self) -> Vec<f64> {
        self.fused.alphas()
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        self.fused.set_alpha(value, alpha)
    }

    /// A gate reads the base's logits, so all that are wanted are computed at once.
    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error> {
        let cache = cache.gated(self.fused.values.len())?;
        let [batch, seq] = tokens.dims();
        let places: Vec<Place> = at
            .indices([batch, seq])
            .into_iter()
            .map(|at| Place { row: at / seq, column: at % seq })
            .collect();
        let base = self.fused.base.component_logits(tokens.clone(), at, &mut cache.base)?.all();
        Ok(SelectedComponents::new(self.consult(base, tokens, &places, cache)?))
    }
}
