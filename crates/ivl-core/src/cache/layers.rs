//! The caches of all layers of one transformer.

use std::ops::Range;

use burn::tensor::{Int, Tensor};

use super::KvCache;
use crate::error::Error;
use crate::tokens::index_tensor;

/// The text that a position of a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index in the row of its first token.
    pub start: usize,
    /// Its tokens; the tokens known so far if its length was not announced.
    pub len: usize,
}

/// The caches of one transformer: its layers, the number of positions that they hold, the left padding of each row, and
/// the texts in each row.
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

    /// For a network that reads `stride` positions for each token. Padding and lengths of this type count positions, those
    /// of [`Cache`](super::Cache) tokens.
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

    /// Tokens held, padding included.
    pub(super) fn tokens(&self) -> usize {
        self.len / self.stride
    }

    /// Number of layers.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// Positions of left padding, for each row.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Refuses to go on with keys of another number or width of heads.
    ///
    /// # Errors
    /// [`Error::ForeignCache`].
    pub fn check_heads(&self, kv_heads: usize, head_dim: usize) -> Result<(), Error> {
        match self.layers.first().and_then(KvCache::heads) {
            Some([heads, dim]) if [heads, dim] != [kv_heads, head_dim] => Err(Error::ForeignCache {
                expected: format!("{kv_heads} key heads of width {head_dim}"),
                got: format!("{heads} key heads of width {dim}"),
            }),
            _ => Ok(()),
        }
    }

    /// Announces the texts in each row; see [`Cache::segment`](super::Cache::segment).
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] unless there is a list of lengths for each row.
    pub fn segment(&mut self, rows: &[Vec<usize>]) -> Result<(), Error> {
        if rows.len() != self.padding.len() {
            return Err(Error::InvalidSetting {
                name: "segments",
                expected: "a list of lengths for each row of the cache",
                got: format!("{} lists for {} rows", rows.len(), self.padding.len()),
            });
        }
        let positions = |row: &Vec<usize>| row.iter().map(|len| len * self.stride).collect();
        self.segments = Some(rows.iter().map(positions).collect());
        Ok(())
    }

    /// Whether the lengths of the texts in each row are given.
    pub fn is_segmented(&self) -> bool {
        self.segments.is_some()
    }

    /// The segments that the positions of a row belong to, one for each position. Right padding after the last segment
    /// counts as more of it.
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

    /// The length that the text is known to reach, padding included; see
    /// [`Cache::set_expected_len`](super::Cache::set_expected_len).
    pub fn expected_len(&self) -> usize {
        self.expected
    }

    /// Announces the length that the text will reach, in tokens.
    pub fn set_expected_len(&mut self, tokens: usize) {
        self.expected = self.expected.max(tokens * self.stride);
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

    /// The cache of one layer.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&mut self, index: usize) -> &mut KvCache {
        &mut self.layers[index]
    }

    /// Records that every layer has seen `seq` more positions.
    pub fn advance(&mut self, seq: usize) {
        self.len += seq;
    }

    /// Whether keys hold only for texts of some lengths, so that tokens were kept to be read again.
    pub(super) fn depends_on_length(&self) -> bool {
        self.history.is_some()
    }

    pub(super) fn truncate(&mut self, tokens: usize) {
        let len = tokens * self.stride;
        self.len = self.len.min(len);
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        self.history = self.history.take().filter(|_| len > 0).map(|history| {
            let [batch, seq] = history.dims();
            history.slice([0..batch, 0..seq.min(len)])
        });
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        self.select_segments(rows);
        self.layers.iter_mut().for_each(|layer| layer.select(rows));
        self.history = self.history.take().map(|history| {
            let index = index_tensor(rows, &history.device());
            history.select(0, index)
        });
    }

    fn select_segments(&mut self, rows: &[usize]) {
        if let Some(segments) = &mut self.segments {
            *segments = rows.iter().map(|&row| segments[row].clone()).collect();
        }
    }

    pub(super) fn join(&mut self, mut other: Self) {
        if other.padding.is_empty() {
            return;
        }
        if self.padding.is_empty() {
            *self = other;
            return;
        }
        let len = self.len.max(other.len);
        for cache in [&mut *self, &mut other] {
            let missing = len - cache.len;
            cache.padding.iter_mut().for_each(|padding| *padding += missing);
            cache.history = cache.history.take().map(|history| pad_left(history, missing));
        }
        self.padding.append(&mut other.padding);
        self.history = self.history.take().zip(other.history).map(|(a, b)| Tensor::cat(vec![a, b], 0));
        for (layer, more) in self.layers.iter_mut().zip(other.layers) {
            layer.join(more, len);
        }
        self.len = len;
        // Every row has been read to its end, so nothing is announced any more; each is one text from now on.
        (self.expected, self.segments) = (0, None);
    }

    pub(super) fn keep(&mut self, rows: &[usize]) {
        let kept: Vec<usize> = rows.iter().map(|&row| self.padding[row]).collect();
        let Some(&dropped) = kept.iter().min() else {
            *self = Self::new(self.layers.len(), &[]).with_stride(self.stride);
            return;
        };
        self.layers.iter_mut().for_each(|layer| layer.keep(rows, dropped));
        self.padding = kept.into_iter().map(|padding| padding - dropped).collect();
        self.select_segments(rows);
        self.history = self.history.take().map(|history| {
            let [_, len] = history.dims();
            let index = index_tensor(rows, &history.device());
            history.select(0, index).slice([0..rows.len(), dropped..len])
        });
        self.len -= dropped;
        self.expected = self.expected.saturating_sub(dropped);
    }

    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(KvCache::bytes).sum()
    }
}

fn pad_left(tokens: Tensor<2, Int>, missing: usize) -> Tensor<2, Int> {
    let padding = Tensor::zeros([tokens.dims()[0], missing], &tokens.device());
    if missing == 0 { tokens } else { Tensor::cat(vec![padding, tokens], 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_and_lens(cache: &LayerCache, row: usize, positions: Range<usize>) -> Vec<(usize, usize)> {
        cache.segments(row, positions).map(|segment| (segment.start, segment.len)).collect()
    }

    #[test]
    fn without_segments_a_row_is_one_text_after_its_padding() {
        let mut cache = LayerCache::new(1, &[2, 0]);
        assert_eq!(starts_and_lens(&cache, 0, 0..4), [(2, 2); 4]);
        cache.set_expected_len(9);
        assert_eq!(starts_and_lens(&cache, 1, 2..4), [(0, 9); 2]);
    }

    #[test]
    fn segments_follow_each_other_and_are_selected_with_their_rows() {
        let mut cache = LayerCache::new(1, &[0, 1]);
        cache.segment(&[vec![2, 1, 1], vec![3]]).expect("two rows");
        let first = [(0, 2), (0, 2), (2, 1), (3, 1), (3, 1), (3, 1)];
        assert_eq!(starts_and_lens(&cache, 0, 0..6), first);
        assert_eq!(starts_and_lens(&cache, 0, 3..6), first[3..]);
        cache.select(&[1, 0]);
        assert_eq!(starts_and_lens(&cache, 1, 0..6), first);
        assert_eq!(starts_and_lens(&cache, 0, 0..3), [(1, 3); 3]);
        assert!(cache.segment(&[vec![1]]).expect_err("one list").to_string().contains("1 lists for 2 rows"));
    }
}
