//! The one contract of the project: tokens in, logits out.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor};

use crate::cache::Cache;
use crate::error::Error;
use crate::fusion::{LogitComponents, RowWeights};
use crate::vocab::Vocab;

/// A next-token model.
///
/// Object-safe on purpose: what is composed with what is chosen at run time. One virtual call per forward costs
/// nanoseconds where the forward costs milliseconds.
pub trait CausalLm: Send {
    /// What each logit stands for.
    fn vocab(&self) -> &Vocab;

    /// The largest number of positions the model can read.
    fn max_positions(&self) -> usize;

    /// Where the model computes and wants its tokens.
    fn device(&self) -> Device;

    /// An empty cache for a batch of `padding.len()` rows; row `r` will start with `padding[r]` tokens to be ignored
    /// (left padding, so that prompts of different lengths end together).
    fn new_cache(&self, padding: &[usize]) -> Cache;

    /// Reads tokens after those in the cache and returns the logits at every new position.
    ///
    /// An empty cache gives the pass over a whole sequence, as in training.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocab]`
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3>;

    /// Like [`forward`](Self::forward), for the last position alone. Models with a large vocabulary override it, since
    /// the head is then computed once, not for every position.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, vocab]`
    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let logits = self.forward(tokens, cache);
        let [batch, seq, vocab] = logits.dims();
        logits.slice([0..batch, seq - 1..seq]).reshape([batch, vocab])
    }

    /// Reads tokens like [`forward`](Self::forward), for the logits at some of the new positions and what they are made of,
    /// computed piece by piece: all logits of a batch at a vocabulary of a hundred thousand are gigabytes. Models with a
    /// large vocabulary override it, so that the head is computed where it is asked for alone; a model with values must,
    /// so that they are seen apart.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - `positions`: `[n]`, indices into `batch * seq`, row-major
    /// - output: of any range of the `n` rows, [`LogitComponents`] of `[rows, vocab]`
    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let logits = self.forward(tokens, cache).flatten::<2>(0, 1).select(0, positions);
        Box::new(move |rows| LogitComponents::new(logits.clone().slice([rows])))
    }

    /// The sums of [`lazy_parts_at`](Self::lazy_parts_at), in f32.
    fn lazy_logits_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedLogits<'_> {
        let parts = self.lazy_parts_at(tokens, positions, cache);
        Box::new(move |rows| parts(rows).fused())
    }

    /// All rows of [`lazy_logits_at`](Self::lazy_logits_at) at once. Shape `[n, vocab]`.
    fn logits_at(&self, tokens: Tensor<2, Int>, positions: Tensor<1, Int>, cache: &mut Cache) -> Tensor<2> {
        let rows = positions.dims()[0];
        self.lazy_logits_at(tokens, positions, cache)(0..rows)
    }

    /// Reads tokens of the rows of a [`DecodeBatch`](crate::fusion::DecodeBatch), each with weights of its own, and returns what
    /// [`LogitComponents::stages`] has: the logits of the base alone, then with the first value, and so on. A value reads the rows that
    /// take it and no others: its part of the cache holds those alone.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, positions, vocab]` each, in f32, at the positions that the rows want
    fn row_stages(&self, tokens: Tensor<2, Int>, rows: RowWeights<'_>, cache: &mut Cache) -> Vec<Tensor<3>> {
        vec![rows.logits(self, tokens, cache).cast(DType::F32)]
    }

    /// The weights of the values attached, those of a base with values included; these come first.
    fn alphas(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Number of values attached.
    fn values(&self) -> usize {
        self.alphas().len()
    }

    /// So many of the first weights change what later values read: these read predictions. What a value has read under one of
    /// them is no use under another.
    fn weights_read(&self) -> usize {
        0
    }

    /// Changes the weight of a value. What was read before stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if there is no such value or alpha is not finite.
    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        let _ = alpha;
        Err(Error::InvalidSetting {
            name: "value",
            expected: "a value that is attached",
            got: value.to_string(),
        })
    }

    /// Whether tokens at these positions of a text (padding not counted) give the same logits when they are read at once as
    /// one after the other, and those behind any of them can be forgotten again. Not so where the position encoding
    /// changes with the length of the text.
    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        let _ = positions;
        true
    }

    /// Whether its logits lie in the memory of the host, where reading them back costs nothing.
    fn on_host(&self) -> bool {
        false
    }

    /// A name for error messages.
    #[expect(clippy::unnecessary_literal_bound, reason = "implementations return a name of their own")]
    fn name(&self) -> &str {
        "the model"
    }
}

/// Logits at positions that were read, computed for the rows that are asked for: a range of `n` rows gives `[n, vocab]`.
pub type SelectedLogits<'a> = Box<dyn Fn(Range<usize>) -> Tensor<2> + 'a>;

/// [`LogitComponents`] at positions that were read, computed for the rows that are asked for.
pub type SelectedComponents<'a> = Box<dyn Fn(Range<usize>) -> LogitComponents + 'a>;

/// Several sequences as one left-padded batch.
#[derive(Debug, Clone)]
pub struct PaddedBatch {
    /// Token ids, row-major `[batch, seq]`; padding positions hold id 0, which no row attends to.
    pub ids: Vec<u32>,
    /// Padding at the start of each row.
    pub padding: Vec<usize>,
    /// Length of the longest row.
    pub seq: usize,
}

impl PaddedBatch {
    /// Pads on the left to the longest sequence.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] for a sequence without tokens, [`Error::TokenOutOfRange`] for an id that has no logit.
    pub fn new<S: AsRef<[u32]>>(sequences: &[S], vocab: &Vocab) -> Result<Self, Error> {
        let seq = sequences.iter().map(|s| s.as_ref().len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(seq * sequences.len());
        let mut padding = Vec::with_capacity(sequences.len());
        for sequence in sequences.iter().map(AsRef::as_ref) {
            check_ids(sequence, vocab)?;
            padding.push(seq - sequence.len());
            ids.resize(ids.len() + seq - sequence.len(), 0);
            ids.extend_from_slice(sequence);
        }
        Ok(Self { ids, padding, seq })
    }

    /// Columns `start..end` as a tensor `[batch, end - start]`.
    pub fn columns(&self, start: usize, end: usize, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<u32> =
            self.ids.chunks(self.seq.max(1)).flat_map(|row| &row[start..end]).copied().collect();
        token_tensor(&ids, self.padding.len(), device)
    }
}

/// Token ids, row-major, as a tensor `[batch, seq]`.
pub fn token_tensor(ids: &[u32], batch: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::<1, Int>::from_ints(ids.as_slice(), device).reshape([batch as i64, -1])
}

/// Positions or rows to select, as a tensor `[n]`.
pub fn index_tensor(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
    Tensor::from_ints(indices.as_slice(), device)
}

pub(crate) fn check_ids(ids: &[u32], vocab: &Vocab) -> Result<(), Error> {
    if ids.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    match ids.iter().position(|&id| id as usize >= vocab.size()) {
        Some(position) => Err(Error::TokenOutOfRange { id: ids[position], position, size: vocab.size() }),
        None => Ok(()),
    }
}
