//! The key-value cache: plain data, passed to every forward.

mod gated;
mod rows;

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor};

pub use gated::GatedCache;

use crate::causal_lm::index_tensor;
use crate::cross_tokenizer::TextCache;

/// Keys and values of one attention layer, shape `[batch, kv_heads, len, head_dim]`, in a buffer that grows by doubling.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    buffers: Option<(Tensor<4>, Tensor<4>)>,
    len: usize,
}

impl KvCache {
    /// Appends the keys and values of new positions and returns those of all positions so far.
    ///
    /// A first call keeps the tensors as they are, so that a pass over a whole sequence (training, scoring) copies
    /// nothing.
    ///
    /// # Shapes
    /// - `keys`, `values`: `[batch, kv_heads, seq, head_dim]`
    /// - output: twice `[batch, kv_heads, len + seq, head_dim]`
    pub fn append(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let start = self.len;
        self.len += keys.dims()[2];
        let Some((all_keys, all_values)) = self.buffers.take() else {
            self.buffers = Some((keys.clone(), values.clone()));
            return (keys, values);
        };
        // Taken out of the option: `slice_assign` works in place only on a tensor that nobody else holds.
        let all_keys = write(all_keys, keys, start);
        let all_values = write(all_values, values, start);
        let view = (prefix(&all_keys, self.len), prefix(&all_values, self.len));
        self.buffers = Some((all_keys, all_values));
        view
    }

    /// Makes room for `seq` new positions, and has them written in place: `write` is given the buffers of keys and of values,
    /// `[batch, kv_heads, capacity, head_dim]`, and the number of positions before the new ones, and gives the buffers back.
    pub fn extend_in_place(
        &mut self,
        [batch, kv_heads, seq, head_dim]: [usize; 4],
        (device, dtype): (&Device, DType),
        write: impl FnOnce(Tensor<4>, Tensor<4>, usize) -> (Tensor<4>, Tensor<4>),
    ) {
        let (start, end) = (self.len, self.len + seq);
        self.len = end;
        let empty = || Tensor::zeros([batch, kv_heads, end, head_dim], (device, dtype));
        let (keys, values) = self.buffers.take().unwrap_or_else(|| (empty(), empty()));
        self.buffers = Some(write(with_room(keys, start, end), with_room(values, start, end), start));
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            self.buffers = None;
        }
    }

    fn select(&mut self, rows: &[usize]) {
        if let Some((keys, values)) = self.buffers.take() {
            let rows = index_tensor(rows, &keys.device());
            self.buffers = Some((keys.select(0, rows.clone()), values.select(0, rows)));
        }
    }
}

fn write(buffer: Tensor<4>, new: Tensor<4>, start: usize) -> Tensor<4> {
    let [batch, heads, seq, dim] = new.dims();
    let end = start + seq;
    with_room(buffer, start, end).slice_assign([0..batch, 0..heads, start..end, 0..dim], new)
}

/// A buffer whose first `len` positions are kept, with room for `end` of them.
fn with_room(buffer: Tensor<4>, len: usize, end: usize) -> Tensor<4> {
    let [batch, heads, capacity, dim] = buffer.dims();
    if end <= capacity {
        return buffer;
    }
    let grown = Tensor::zeros(
        [batch, heads, (2 * capacity).max(end).max(64), dim],
        (&buffer.device(), buffer.dtype()),
    );
    grown.slice_assign([0..batch, 0..heads, 0..len, 0..dim], prefix(&buffer, len))
}

fn prefix(buffer: &Tensor<4>, len: usize) -> Tensor<4> {
    let [batch, heads, capacity, dim] = buffer.dims();
    if capacity == len { buffer.clone() } else { buffer.clone().slice([0..batch, 0..heads, 0..len, 0..dim]) }
}

/// The text that a position of a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index in the row of its first token.
    pub start: usize,
    /// Its tokens; as many as are known of, if nobody said how long it is.
    pub len: usize,
}

/// The caches of one transformer: its layers, how many positions they hold, how many of them are left padding, and which
/// texts stand in a row.
#[derive(Debug, Clone)]
pub struct LayerCache {
    layers: Vec<KvCache>,
    padding: Vec<usize>,
    segments: Option<Vec<Vec<usize>>>,
    len: usize,
    expected: usize,
    stride: usize,
    history: Option<Tensor<2, Int>>,
}

impl LayerCache {
    /// An empty cache for `layers` layers; row `r` of the batch starts with `padding[r]` positions to be ignored.
    pub fn new(layers: usize, padding: &[usize]) -> Self {
        Self {
            layers: vec![KvCache::default(); layers],
            padding: padding.to_vec(),
            segments: None,
            len: 0,
            expected: 0,
            stride: 1,
            history: None,
        }
    }

    /// For a network that reads `stride` positions for each token. Padding and lengths of this type count positions, those of
    /// [`Cache`] tokens.
    #[must_use]
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.padding.iter_mut().for_each(|padding| *padding *= stride);
        Self { stride, ..self }
    }

    /// Positions held, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions of left padding, for each row.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Whether the lengths of the texts in each row are given; see [`Cache::segment`].
    pub fn is_segmented(&self) -> bool {
        self.segments.is_some()
    }

    /// The segments that the positions of a row belong to, one for each position. What stands behind the last segment
    /// (right padding) counts as more of it.
    pub fn segments(&self, row: usize, positions: Range<usize>) -> impl Iterator<Item = Segment> {
        let known = positions.end.max(self.expected);
        let start = self.padding[row];
        let whole = [known.saturating_sub(start)];
        let lens = self.segments.as_ref().map_or(whole.to_vec(), |rows| rows[row].clone());
        let mut lens = lens.into_iter();
        let mut segment = Segment { start, len: lens.next().unwrap_or(0) };
        positions.map(move |position| {
            while position >= segment.start + segment.len
                && let Some(len) = lens.next()
            {
                segment = Segment { start: segment.start + segment.len, len };
            }
            segment
        })
    }

    /// The length that the text is known to reach, padding included; see [`Cache::expect`].
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Keeps the tokens that were read, for models whose position encoding changes at some length: they read them
    /// again there. Returns all tokens so far.
    pub fn remember(&mut self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        let all = match self.history.take() {
            Some(history) => Tensor::cat(vec![history, tokens], 1),
            None => tokens,
        };
        self.history = Some(all.clone());
        all
    }

    /// Forgets keys and values, and keeps the remembered tokens.
    pub fn restart(&mut self) {
        self.len = 0;
        self.layers.iter_mut().for_each(|layer| layer.truncate(0));
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        self.history = self.history.take().map(|history| {
            let [batch, seq] = history.dims();
            history.slice([0..batch, 0..seq.min(len)])
        });
        if len == 0 {
            self.history = None;
        }
    }

    fn select(&mut self, rows: &[usize]) {
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        if let Some(segments) = &mut self.segments {
            *segments = rows.iter().map(|&row| segments[row].clone()).collect();
        }
        self.layers.iter_mut().for_each(|layer| layer.select(rows));
        self.history = self.history.take().map(|history| {
            let index = index_tensor(rows, &history.device());
            history.select(0, index)
        });
    }

    /// The cache of one layer.
    pub fn layer(&mut self, index: usize) -> &mut KvCache {
        &mut self.layers[index]
    }

    /// Records that every layer has seen `seq` more positions.
    pub fn advance(&mut self, seq: usize) {
        self.len += seq;
    }
}

/// What a [`CausalLm`](crate::CausalLm) remembers of the tokens it has read. It mirrors the model: layers for a
/// transformer, one cache for each part of a [`FusedLm`](crate::FusedLm).
#[derive(Debug, Clone)]
pub enum Cache {
    /// The cache of one transformer.
    Layers(LayerCache),
    /// The caches of a fused model: the base first, then the values in order.
    Fused(Vec<Cache>),
    /// The cache of a value that reads the text in tokens of its own.
    Text(TextCache),
    /// The cache of a base whose values lag behind.
    Gated(GatedCache),
}

impl Cache {
    /// Tokens read so far, padding included.
    pub fn len(&self) -> usize {
        match self {
            Self::Layers(cache) => cache.len / cache.stride,
            Self::Fused(parts) => parts.first().map_or(0, Self::len),
            Self::Text(cache) => cache.len(),
            Self::Gated(cache) => cache.len(),
        }
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Announces that the text will reach `len` tokens, padding included: a prompt that is read in pieces then gives
    /// what it gives when read at once, also where the position encoding depends on the length of the text.
    pub fn expect(&mut self, len: usize) {
        match self {
            Self::Layers(cache) => cache.expected = cache.expected.max(len * cache.stride),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.expect(len)),
            Self::Gated(cache) => cache.caches_mut().for_each(|cache| cache.expect(len)),
            // Its own tokens are not known before the text is.
            Self::Text(_) => {}
        }
    }

    /// Announces that the first `len` tokens, padding included, are given and that those after them are asked for: a
    /// [`Gate`](crate::fusion::Gate) counts tokens from there.
    pub fn prompt(&mut self, len: usize) {
        match self {
            Self::Layers(_) | Self::Text(_) => {}
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.prompt(len)),
            Self::Gated(cache) => {
                cache.prompt(len);
                cache.caches_mut().for_each(|cache| cache.prompt(len));
            }
        }
    }

    /// Announces that several texts stand one after the other in each row: `rows[r]` are their lengths in row `r`, behind
    /// its left padding. Each is then read as if it stood alone: its positions begin at 0, it sees no other text, and
    /// where the position encoding depends on the length of the text, it is its own. What follows the last text of a row
    /// is right padding, which no text sees.
    ///
    /// # Panics
    /// If there are not as many rows as in the batch, or a value reads the text in tokens of its own: its rows hold one
    /// text each.
    pub fn segment(&mut self, rows: &[Vec<usize>]) {
        match self {
            Self::Layers(cache) => {
                assert_eq!(rows.len(), cache.padding.len(), "one list of segments for each row");
                let positions = |row: &Vec<usize>| row.iter().map(|len| len * cache.stride).collect();
                cache.segments = Some(rows.iter().map(positions).collect());
            }
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.segment(rows)),
            Self::Gated(cache) => cache.caches_mut().for_each(|cache| cache.segment(rows)),
            Self::Text(_) => panic!("several texts in a row were given to a value with tokens of its own"),
        }
    }

    /// Forgets all tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Layers(cache) => cache.truncate(len * cache.stride),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.truncate(len)),
            Self::Text(cache) => cache.truncate(len),
            Self::Gated(cache) => cache.truncate(len),
        }
    }

    /// Keeps the given rows of the batch, in the given order; a row may be repeated.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn select(&mut self, rows: &[usize]) {
        match self {
            Self::Layers(cache) => cache.select(rows),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.select(rows)),
            Self::Text(cache) => cache.select(rows),
            Self::Gated(cache) => cache.select(rows),
        }
    }

    /// The layers of a transformer's cache.
    ///
    /// # Panics
    /// If the cache was made by a model of another structure: always a bug of the caller.
    pub fn layers(&mut self) -> &mut LayerCache {
        match self {
            Self::Layers(cache) => cache,
            Self::Fused(_) | Self::Text(_) | Self::Gated(_) => {
                panic!("a fused model's cache was given to a single model")
            }
        }
    }

    /// The cache of a base whose values are gated.
    ///
    /// # Panics
    /// If the cache was made by a model of another structure: always a bug of the caller.
    pub(crate) fn gated(&mut self) -> &mut GatedCache {
        match self {
            Self::Gated(cache) => cache,
            _ => panic!("a gated model was given the cache of another model"),
        }
    }

    /// The cache of a value that reads the text in tokens of its own.
    ///
    /// # Panics
    /// If the cache was made by a model of another structure: always a bug of the caller.
    pub(crate) fn text(&mut self) -> &mut TextCache {
        match self {
            Self::Text(text) => text,
            _ => panic!("a value that reads text was given the cache of another model"),
        }
    }

    /// The base's cache and the cache of the value that reads its text.
    ///
    /// # Panics
    /// If the cache was made by a model of another structure: always a bug of the caller.
    pub(crate) fn base_and_text(&mut self) -> (&mut Cache, &mut TextCache) {
        match self {
            Self::Fused(parts) => match parts.as_mut_slice() {
                [base, Self::Text(text)] => (base, text),
                _ => panic!("a model that reads text was given the cache of another fused model"),
            },
            _ => panic!("a fused model was given the cache of another model"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_and_lens(cache: &LayerCache, row: usize, positions: Range<usize>) -> Vec<(usize, usize)> {
        cache.segments(row, positions).map(|segment| (segment.start, segment.len)).collect()
    }

    #[test]
    fn without_segments_a_row_is_one_text_behind_its_padding() {
        let mut cache = LayerCache::new(1, &[2, 0]);
        assert_eq!(starts_and_lens(&cache, 0, 0..4), [(2, 2); 4]);
        cache.expected = 9;
        assert_eq!(starts_and_lens(&cache, 1, 2..4), [(0, 9); 2]);
    }

    #[test]
    fn segments_follow_each_other_and_are_selected_with_their_rows() {
        let mut cache = Cache::Layers(LayerCache::new(1, &[0, 1]));
        cache.segment(&[vec![2, 1, 1], vec![3]]);
        let first = [(0, 2), (0, 2), (2, 1), (3, 1), (3, 1), (3, 1)];
        assert_eq!(starts_and_lens(cache.layers(), 0, 0..6), first);
        assert_eq!(starts_and_lens(cache.layers(), 0, 3..6), first[3..]);
        cache.select(&[1, 0]);
        assert_eq!(starts_and_lens(cache.layers(), 1, 0..6), first);
        assert_eq!(starts_and_lens(cache.layers(), 0, 0..3), [(1, 3); 3]);
    }
}
