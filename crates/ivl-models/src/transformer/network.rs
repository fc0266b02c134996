//! The network: embedding, blocks, norm and head, and its forward pass.

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use ivl_core::cache::{Inputs, LayerCache};
use ivl_core::row_chunks::PREFILL_CHUNK;
use ivl_core::tokens::token_tensor;

use super::ages::Ages;
use super::attention::Encoding;
use super::block::{Block, Context};
use super::embedding::Embedding;
use super::layer_inputs::LayerInputs;
use super::linear::Linear;
use super::lora_config::Projection;
use super::mask::Mask;
use super::mixing::Reading;
use super::norm::Norm;
use super::ops::{self, Activations, PositionFactors, Rotation};
use super::site::Site;
use crate::config::{KeySource, LayerConfig, LayerKind, ModelConfig, RopeConfig};
use crate::{DeviceMap, Weights};

/// A decoder-only transformer, in the shape that its [`ModelConfig`] describes.
#[derive(Module, Debug)]
pub struct Transformer {
    pub(super) embedding: Embedding,
    position_embedding: Option<Embedding>,
    pub(super) layer_inputs: Option<LayerInputs>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    pub(super) head: Option<Linear>,
    /// Whether the last norm is not that of the model under the adapters, so that it is saved with them.
    #[module(skip)]
    pub(super) own_norm: bool,
    /// Whether hidden states are the difference that adapters make.
    #[module(skip)]
    pub(super) is_difference: bool,
    /// The blocks of each device, in order; the blocks themselves know their devices.
    #[module(skip)]
    pub(super) stages: Vec<Range<usize>>,
    #[module(skip)]
    config: ModelConfig,
}

impl ModelConfig {
    /// A transformer of this shape whose weights are zero and not yet allocated; a checkpoint or
    /// [`initialize`](crate::initialize) fills them.
    pub fn init(&self, device: &Device) -> Transformer {
        self.init_on(&DeviceMap::single(device, Weights::default()))
    }

    /// The same with layers on several devices, by a map that [fits](DeviceMap::check).
    pub(crate) fn init_on(&self, map: &DeviceMap) -> Transformer {
        let (hidden, layers) = (self.hidden_size, self.layers.len());
        let learned = self.embedding.learned_positions;
        let parts = map.parts();
        let (first, last) = (&parts[0].device, &parts[parts.len() - 1].device);
        let block = |layer| Block::new(self, layer, &parts[map.part_of_layer(layer)].device);
        let ends = parts[1..].iter().map(|part| part.first_layer).chain([layers]);
        Transformer {
            embedding: Embedding::new(self.vocab_size, hidden, first),
            position_embedding: learned.then(|| Embedding::new(self.max_positions, hidden, first)),
            layer_inputs: self.layer_inputs.map(|inputs| LayerInputs::new(self, inputs, first)),
            blocks: (0..layers).map(block).collect(),
            norm: Norm::new(hidden, self.norm, last),
            head: (!self.embedding.tied)
                .then(|| Linear::new(hidden, self.vocab_size, self.embedding.head_bias, last)),
            own_norm: false,
            is_difference: false,
            stages: parts.iter().zip(ends).map(|(part, end)| part.first_layer..end).collect(),
            config: self.clone(),
        }
    }
}

impl Transformer {
    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the head, on which logits are computed: that of all weights, unless layers are on several devices.
    pub fn device(&self) -> Device {
        self.head.as_ref().map_or(&self.embedding.weight, |head| &head.weight).lazy_device()
    }

    /// The device of each block.
    pub fn layer_devices(&self) -> impl Iterator<Item = Device> {
        self.blocks.iter().map(Block::device)
    }

    /// Whether layers are on several devices. If not, nothing moves.
    fn is_divided(&self) -> bool {
        self.stages.len() > 1
    }

    /// The type that the model computes in.
    pub fn dtype(&self) -> DType {
        self.norm.weight.val().dtype()
    }

    /// An empty cache for rows that start with `padding[row]` tokens to be ignored.
    pub fn new_cache(&self, padding: &[usize]) -> LayerCache {
        LayerCache::new(self.blocks.len(), padding).with_copies(self.copies())
    }

    /// Rows that it reads for each row of tokens.
    pub(crate) fn copies(&self) -> usize {
        if self.is_difference { 2 } else { 1 }
    }

    /// Logits at every new position: [`head`](Self::head) of [`hidden`](Self::hidden).
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocab]`
    pub fn forward(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        self.head(self.hidden(tokens, cache))
    }

    /// Hidden states after the last norm at every new position; of a
    /// [difference](Self::with_adapter_difference), those with the adapters minus those without.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn hidden(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        if !self.is_difference {
            return self.hidden_of_rows(tokens, cache);
        }
        let [batch, seq] = tokens.dims();
        let pairs = tokens.reshape([batch, 1, seq]).repeat_dim(1, 2).reshape([2 * batch, seq]);
        let hidden = self.hidden_of_rows(pairs, cache);
        let width = hidden.dims()[2];
        let pairs: Tensor<3> = hidden.reshape([batch, 2, seq * width]);
        let [with, without] = [0, 1].map(|row| pairs.clone().slice([0..batch, row..row + 1]));
        (with - without).reshape([batch, seq, width])
    }

    fn hidden_of_rows(&self, tokens: Tensor<2, Int>, cache: &mut LayerCache) -> Tensor<3> {
        let switches: Vec<usize> =
            self.config.ropes().filter_map(|rope| rope.scaling.switches_at()).collect();
        if switches.is_empty() && !self.config.is_recurrent() {
            return self.read(Inputs::Tokens(tokens), cache);
        }
        let (before, seq) = (cache.len(), tokens.dims()[1]);
        let crosses = |&padding: &usize| {
            let known = before.max(cache.expected_len()).saturating_sub(padding);
            switches.iter().any(|&switch| known <= switch && before + seq > switch + padding)
        };
        // Of segments the lengths are known beforehand.
        if before > 0 && !cache.is_segmented() && cache.padding().iter().any(crosses) {
            cache.restart();
        }
        self.read_on(Inputs::Tokens(tokens), cache)
    }

    /// Reads inputs and remembers them, after those that the layers have lost.
    ///
    /// # Shapes
    /// - output: `[batch, seq, hidden]`, of the new inputs
    fn read_on(&self, inputs: Inputs, cache: &mut LayerCache) -> Tensor<3> {
        let (seq, end) = (inputs.len(), cache.len() + inputs.len());
        cache.remember(inputs.clone());
        if cache.unread() == 0 {
            return self.read(inputs, cache);
        }
        // Positions whose encoding depends on the length of the text are read at once, as the first time.
        let chunk = if self.config.is_recurrent() { PREFILL_CHUNK } else { usize::MAX };
        while cache.unread() > chunk {
            let next = cache.held()..cache.held() + chunk;
            self.read(cache.remembered(next), cache);
        }
        let x = self.read(cache.remembered(cache.held()..end), cache);
        let [batch, all, width] = x.dims();
        x.slice([0..batch, all - seq..all, 0..width])
    }

    /// Input embeddings of tokens, scaled as the model reads them.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.scaled(self.embedding.forward(self.at_embedding(tokens)))
    }

    /// Tokens on the device of the embeddings.
    fn at_embedding(&self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        if self.is_divided() { tokens.to_device(&self.embedding.weight.lazy_device()) } else { tokens }
    }

    /// The expected input embedding of a token that is known only by its probabilities: `p E`.
    ///
    /// # Shapes
    /// - `probabilities`: `[n, vocab]`, in f32
    /// - output: `[n, hidden]`
    pub fn expected_embedding(&self, probabilities: Tensor<2>) -> Tensor<2> {
        let table = self.embedding.weight.val();
        let probabilities =
            if self.is_divided() { self.embedding.site().bring(probabilities) } else { probabilities };
        let probabilities = probabilities.cast(table.dtype());
        self.scaled(ops::product(&probabilities, table))
    }

    fn scaled<const D: usize>(&self, embedded: Tensor<D>) -> Tensor<D> {
        match self.config.embedding.scale {
            Some(scale) => ops::scaled_tensor(embedded, scale),
            None => embedded,
        }
    }

    /// Hidden states after the last norm for inputs that are already embedded.
    ///
    /// Embeddings are on the first device of a network. Where the position encoding switches at some length (LongRoPE), the whole input has to be given at once: embedded
    /// inputs are kept to be read again only for recurrent layers.
    ///
    /// # Shapes
    /// - `embedded` and output: `[batch, seq, hidden]`
    ///
    /// # Panics
    /// Of a [difference](Self::with_adapter_difference): it reads tokens.
    pub fn hidden_from_embeddings(&self, embedded: Tensor<3>, cache: &mut LayerCache) -> Tensor<3> {
        assert!(!self.is_difference, "a difference of adapters reads tokens");
        if self.config.is_recurrent() {
            self.read_on(Inputs::Embedded(embedded), cache)
        } else {
            self.read(Inputs::Embedded(embedded), cache)
        }
    }

    fn read(&self, inputs: Inputs, cache: &mut LayerCache) -> Tensor<3> {
        let (tokens, mut x) = match inputs {
            Inputs::Tokens(tokens) => {
                let tokens = self.at_embedding(tokens);
                (Some(tokens.clone()), self.embed(tokens))
            }
            Inputs::Embedded(embedded) => (None, embedded),
        };
        let (seq, device) = (x.dims()[1], x.device());
        let layer_inputs = self.layer_inputs.as_ref().map(|inputs| inputs.forward(tokens, &x));
        if let Some(table) = &self.position_embedding {
            // Right padding may lie further from its text's beginning than the table reaches.
            let inside = |(position, len): (usize, usize)| position.min(len.saturating_sub(1)) as u32;
            let positions: Vec<u32> = places(cache, seq).into_iter().flatten().map(inside).collect();
            x = x + table.forward(token_tensor(&positions, cache.padding().len(), &device));
        }
        let (ages, mark) = (Ages::new(cache, seq), cache.mark(seq));
        let mut passing = Passing { x: x.into(), layer_inputs };
        for stage in self.stages.iter().cloned() {
            if stage.start > 0 {
                passing = passing.onto(&self.blocks[stage.start]);
            }
            passing = self.read_stage(stage, passing, Reading { ages: &ages, mark }, cache);
        }
        cache.advance(seq);
        match (&self.head, &self.embedding.packed) {
            (Some(head), _) => Linear::expect_all([head]),
            (None, Some(matrix)) => ops::expect_packed(matrix),
            (None, None) => {}
        }
        self.norm.forward(&passing.x).into_tensor()
    }

    /// Reads new positions with the blocks of one device. Masks and tables of positions are made there, once for all its blocks.
    fn read_stage(
        &self,
        stage: Range<usize>,
        passing: Passing,
        reading: Reading<'_>,
        cache: &mut LayerCache,
    ) -> Passing {
        let Passing { x, layer_inputs } = passing;
        let (seq, x) = (reading.ages.seq, x.into_tensor());
        let layers = &self.config.layers[stage.clone()];
        let rotations = rotations(layers, cache, seq, (x.dtype(), &x.device()));
        let query_factors = self.query_factors(cache, seq);
        // Masks are laid out for the query heads of a key head.
        let mut masks: Vec<((LayerKind, usize), Mask)> = Vec::new();
        let mut x = Activations::new(x, self.blocks[stage.clone()].iter().any(Block::is_packed));
        for ((index, block), layer) in stage.clone().zip(&self.blocks[stage]).zip(layers) {
            let seen = (layer.kind, self.config.attention_of(layer).num_kv_heads);
            let known = masks.iter().position(|(known, _)| *known == seen).unwrap_or_else(|| {
                masks.push((seen, Mask::new(layer.kind, cache, seq)));
                masks.len() - 1
            });
            let rotation = rotations.iter().find(|(rope, _)| Some(*rope) == layer.rope.as_ref());
            let encoding = Encoding {
                rotation: rotation.map(|(_, rotation)| rotation),
                query_factors: query_factors.as_ref(),
            };
            let mask = &masks[known].1;
            let context = Context { encoding, mask, reading, layer_inputs: layer_inputs.as_ref() };
            let memory = match layer.keys {
                KeySource::Layer(earlier) => earlier,
                KeySource::Projections | KeySource::OneProjection => index,
            };
            x = block.forward(x, context, cache.layer(memory));
            if let Some(next) = self.blocks.get(index + 1) {
                next.expect();
            }
        }
        Passing { x, layer_inputs }
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, vocab]`
    pub fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        // A tied head is on the first device, the last block on the last.
        let hidden = if self.is_divided() { self.head_site().bring(hidden) } else { hidden };
        let logits = match &self.head {
            Some(head) => head.forward(&Activations::new(hidden, head.packed.is_some())).into_tensor(),
            None => self.tied_head(hidden),
        };
        // The next token, most of the time.
        if let Some(first) = self.blocks.first() {
            first.expect();
        }
        let logits = match self.config.embedding.logit_scale {
            Some(scale) => logits * scale,
            None => logits,
        };
        match self.config.embedding.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    fn head_site(&self) -> Site {
        self.head.as_ref().map_or_else(|| self.embedding.site(), Linear::site)
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

    /// The factors on queries at the new positions, if the model has such.
    fn query_factors(&self, cache: &LayerCache, seq: usize) -> Option<PositionFactors> {
        let scale = self.config.attention.query_scale?;
        let mut places = places(cache, seq);
        places.iter_mut().flatten().for_each(|(_, len)| *len = 0);
        let places = distinct(places);
        let factors = places.iter().flatten().map(|&(position, _)| scale.at(position)).collect();
        Some(PositionFactors::new(factors, places.len()))
    }

    /// The projections that adapters can be added to, with the index of their block.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (usize, Projection, &mut Linear)> {
        let blocks = self.blocks.iter_mut().enumerate();
        blocks.flat_map(|(index, block)| {
            block.projections_mut().map(move |(projection, linear)| (index, projection, linear))
        })
    }
}

/// What passes from block to block.
struct Passing {
    /// The residual stream.
    x: Activations,
    /// Vectors of all blocks beside it.
    layer_inputs: Option<Activations>,
}

impl Passing {
    /// The same where a block computes.
    fn onto(self, block: &Block) -> Self {
        let site = block.site();
        let bring = |x: Activations| Activations::new(site.bring(x.into_tensor()), block.is_packed());
        Self { x: bring(self.x), layer_inputs: self.layer_inputs.map(bring) }
    }
}

/// The rotation of each rotary setting of some layers at the new positions, in the type and on the device of their activations.
fn rotations<'a>(
    layers: &'a [LayerConfig],
    cache: &LayerCache,
    seq: usize,
    (dtype, device): (DType, &Device),
) -> Vec<(&'a Arc<RopeConfig>, Rotation)> {
    let mut rotations: Vec<(&Arc<RopeConfig>, Rotation)> = Vec::new();
    let places = places(cache, seq);
    for rope in layers.iter().filter_map(|layer| layer.rope.as_ref()) {
        if rotations.iter().any(|(known, _)| *known == rope) {
            continue;
        }
        let mut places = places.clone();
        if !rope.scaling.depends_on_length() {
            places.iter_mut().flatten().for_each(|(_, len)| *len = 0);
        }
        rotations.push((rope, rope.rotation(&distinct(places), dtype, device)));
    }
    rotations
}

/// For each of `seq` new tokens of each row, its position in its text and the length of that text.
fn places(cache: &LayerCache, seq: usize) -> Vec<Vec<(usize, usize)>> {
    let new = cache.held()..cache.held() + seq;
    let row = |row| {
        let segments = cache.segments(row, new.clone());
        new.clone().zip(segments).map(|(index, of)| (index.saturating_sub(of.start), of.len)).collect()
    };
    (0..cache.padding().len()).map(row).collect()
}

/// One row, if all rows are alike: one table then serves the batch.
fn distinct(mut places: Vec<Vec<(usize, usize)>>) -> Vec<Vec<(usize, usize)>> {
    if places.iter().all(|row| *row == places[0]) {
        places.truncate(1);
    }
    places
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
