//! The network: embedding, blocks, norm and head, and its forward pass.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::tokens::token_tensor;

use super::block::Block;
use super::embedding::Embedding;
use super::linear::Linear;
use super::lora_config::Projection;
use super::mask::Mask;
use super::norm::Norm;
use super::ops::{self, Activations, Rotation};
use crate::config::{LayerKind, ModelConfig, Position};

/// A decoder-only transformer, in the shape that its [`ModelConfig`] describes.
#[derive(Module, Debug)]
pub struct Transformer {
    pub(super) embedding: Embedding,
    position_embedding: Option<Embedding>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    pub(super) head: Option<Linear>,
    #[module(skip)]
    config: ModelConfig,
}

impl ModelConfig {
    /// A transformer of this shape whose weights are zero and not yet allocated; a checkpoint or
    /// [`initialize`](crate::initialize) fills them.
    pub fn init(&self, device: &Device) -> Transformer {
        let hidden = self.hidden_size;
        let learned = self.position == Position::Learned;
        Transformer {
            embedding: Embedding::new(self.vocab_size, hidden, device),
            position_embedding: learned.then(|| Embedding::new(self.max_positions, hidden, device)),
            blocks: (0..self.layers.len()).map(|layer| Block::new(self, layer, device)).collect(),
            norm: Norm::new(hidden, self.norm, device),
            head: (!self.embedding.tied)
                .then(|| Linear::new(hidden, self.vocab_size, self.embedding.head_bias, device)),
            config: self.clone(),
        }
    }
}

impl Transformer {
    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.embedding.weight.lazy_device()
    }

    /// The type that the model computes in.
    pub fn dtype(&self) -> DType {
        self.norm.weight.val().dtype()
    }

    /// An empty cache for rows that start with `padding[row]` tokens to be ignored.
    pub fn new_cache(&self, padding: &[usize]) -> LayerCache {
        LayerCache::new(self.blocks.len(), padding)
    }

    /// Logits at every new position: [`head`](Self::head) of [`hidden`](Self::hidden).
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocab]`
    pub fn forward(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        self.head(self.hidden(tokens, cache))
    }

    /// Hidden states after the last norm at every new position.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn hidden(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        let Some(switch) = self.switch() else { return self.read(self.embed(tokens), cache) };
        let (before, [batch, seq]) = (cache.len(), tokens.dims());
        let all = cache.remember(tokens.clone());
        let crosses = |&padding: &usize| {
            let known = before.max(cache.expected_len()).saturating_sub(padding);
            known <= switch && before + seq > switch + padding
        };
        // Of segments the lengths are known beforehand.
        if before == 0 || cache.is_segmented() || !cache.padding().iter().any(crosses) {
            return self.read(self.embed(tokens), cache);
        }
        cache.restart();
        let x = self.read(self.embed(all), cache);
        let width = x.dims()[2];
        x.slice([0..batch, before..before + seq, 0..width])
    }

    /// A length at which all that was read has to be read again.
    fn switch(&self) -> Option<usize> {
        match &self.config.position {
            Position::Rope(rope) => rope.scaling.switches_at(),
            Position::Learned => None,
        }
    }

    /// Input embeddings of tokens, scaled as the model reads them.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.scaled(self.embedding.forward(tokens))
    }

    /// The expected input embedding of a token that is known only by its probabilities: `p E`.
    ///
    /// # Shapes
    /// - `probabilities`: `[n, vocab]`, in f32
    /// - output: `[n, hidden]`
    pub fn expected_embedding(&self, probabilities: Tensor<2>) -> Tensor<2> {
        let table = self.embedding.weight.val();
        let probabilities = probabilities.cast(table.dtype());
        self.scaled(ops::product(&probabilities, table))
    }

    fn scaled<const D: usize>(&self, embedded: Tensor<D>) -> Tensor<D> {
        match self.config.embedding.scale {
            Some(scale) => embedded * scale,
            None => embedded,
        }
    }

    /// Hidden states after the last norm for inputs that are already embedded.
    ///
    /// Where the position encoding switches at some length (LongRoPE), the whole input has to be given at once: embedded
    /// inputs are not kept to be read again.
    ///
    /// # Shapes
    /// - `embedded` and output: `[batch, seq, hidden]`
    pub fn hidden_from_embeddings(&self, embedded: Tensor<3>, cache: &mut LayerCache) -> Tensor<3> {
        self.read(embedded, cache)
    }

    fn read(&self, embedded: Tensor<3>, cache: &mut LayerCache) -> Tensor<3> {
        let (seq, device) = (embedded.dims()[1], embedded.device());
        let mut x = embedded;
        if let Some(table) = &self.position_embedding {
            // Right padding may lie further from its text's beginning than the table reaches.
            let inside = |(position, len): (usize, usize)| position.min(len.saturating_sub(1)) as u32;
            let positions: Vec<u32> = places(cache, seq).into_iter().flatten().map(inside).collect();
            x = x + table.forward(token_tensor(&positions, cache.padding().len(), &device));
        }
        let rotation = self.rotation(cache, seq, x.dtype(), &device);
        let mut masks: Vec<(LayerKind, Mask)> = Vec::new();
        let mut x = Activations::new(x, self.norm.is_packed());
        for (index, (block, &kind)) in self.blocks.iter().zip(&self.config.layers).enumerate() {
            let known = masks.iter().position(|(k, _)| *k == kind).unwrap_or_else(|| {
                masks.push((kind, Mask::new(kind, cache, seq)));
                masks.len() - 1
            });
            x = block.forward(x, rotation.as_ref(), &masks[known].1, cache.layer(index));
        }
        cache.advance(seq);
        self.norm.forward(&x).into_tensor()
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, vocab]`
    pub fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        let logits = match &self.head {
            Some(head) => head.forward(&Activations::new(hidden, head.packed.is_some())).into_tensor(),
            None => self.tied_head(hidden),
        };
        match self.config.embedding.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    fn tied_head(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, seq, width] = hidden.dims();
        let rows = hidden.reshape([batch * seq, width]);
        let logits = match &self.embedding.packed {
            Some(matrix) => ops::packed_product(rows, matrix),
            None => ops::transposed_product(rows, self.embedding.weight.val()),
        };
        logits.reshape([batch, seq, self.config.vocab_size])
    }

    /// [`head`](Self::head) for rows without a sequence axis.
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden]`
    /// - output: `[n, vocab]`
    pub fn head_rows(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head(hidden.unsqueeze_dim(0)).squeeze_dim(0)
    }

    fn rotation(&self, cache: &LayerCache, seq: usize, dtype: DType, device: &Device) -> Option<Rotation> {
        let Position::Rope(rope) = &self.config.position else { return None };
        let mut places = places(cache, seq);
        if !rope.scaling.depends_on_length() {
            places.iter_mut().flatten().for_each(|(_, len)| *len = 0);
        }
        if places.iter().all(|row| *row == places[0]) {
            // All rows alike: one table for the batch.
            places.truncate(1);
        }
        Some(rope.rotation(&places, dtype, device))
    }

    /// The projections of all blocks, in the order of the blocks.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        self.blocks.iter_mut().flat_map(Block::projections_mut)
    }
}

/// For each of `seq` new tokens of each row, its position in its text and the length of that text.
fn places(cache: &LayerCache, seq: usize) -> Vec<Vec<(usize, usize)>> {
    let new = cache.len()..cache.len() + seq;
    let row = |row| {
        let segments = cache.segments(row, new.clone());
        new.clone().zip(segments).map(|(index, of)| (index.saturating_sub(of.start), of.len)).collect()
    };
    (0..cache.padding().len()).map(row).collect()
}

/// Some rows of hidden states.
///
/// # Shapes
/// - `hidden`: `[batch, seq, hidden]`
/// - `positions`: `[n]`, indices into `batch * seq`, row-major
/// - output: `[n, hidden]`
pub fn rows_at(hidden: Tensor<3>, positions: Tensor<1, Int>) -> Tensor<2> {
    let [batch, seq, width] = hidden.dims();
    hidden.reshape([batch * seq, width]).select(0, positions)
}
