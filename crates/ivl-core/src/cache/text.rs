//! The cache of models that read the base's text in tokens of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tokens::shared_prefix_len;

/// For every row of a batch, the base's tokens so far and what the value has read of them.
///
/// The rows are apart: two texts of the same number of base tokens have different numbers of value tokens. When base
/// tokens are forgotten, the value's caches are cut back only at its next read, to what the two texts share.
///
/// `C` is [`Cache`](super::Cache), whose file uses this one; `S` is the state that a model keeps for each row besides its
/// caches.
#[derive(Debug, Clone)]
pub struct TextCache<C, S = ()> {
    pub(crate) rows: Vec<TextRow<C, S>>,
    len: usize,
}

/// One row of a [`TextCache`].
#[derive(Debug, Clone)]
pub(crate) struct TextRow<C, S = ()> {
    pub(crate) padding: usize,
    /// Base tokens so far, padding included.
    pub(crate) ids: Vec<u32>,
    /// The value's tokens in the caches.
    pub(crate) held: Vec<u32>,
    /// One for each model that reads the text.
    pub(crate) caches: Vec<C>,
    pub(crate) state: S,
}

/// The state of [`ByteFusedLm`](crate::cross_tokenizer::ByteFusedLm) for each row: under one weight of the value, the
/// probabilities that reference and tilted reference give the next token after some of the value's tokens.
#[derive(Debug, Clone, Default)]
pub struct ByteState {
    pub(crate) recent: BTreeMap<usize, Arc<[Vec<f64>]>>,
    pub(crate) alpha: f64,
}

impl<C: Clone, S: Clone + Default> TextCache<C, S> {
    /// An empty cache for `padding.len()` rows; row `r` starts with `padding[r]` positions to be ignored. `caches` are
    /// empty caches for one row, of each model that reads the text.
    pub(crate) fn new(padding: &[usize], caches: &[C]) -> Self {
        let row = |&padding: &usize| TextRow {
            padding,
            ids: Vec::new(),
            held: Vec::new(),
            caches: caches.to_vec(),
            state: S::default(),
        };
        Self { rows: padding.iter().map(row).collect(), len: 0 }
    }

    /// Positions of the base read so far, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value's tokens that its cache holds for a row: after every step, the value's own tokenisation of the text so
    /// far.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn held(&self, row: usize) -> &[u32] {
        &self.rows[row].held
    }

    pub(crate) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }

    /// Adds `seq` base tokens to every row, for a value that may read them later.
    pub(crate) fn record(&mut self, ids: &[u32], seq: usize) {
        self.advance(seq);
        self.rows.iter_mut().zip(ids.chunks(seq)).for_each(|(row, new)| row.ids.extend_from_slice(new));
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for row in &mut self.rows {
            row.ids.truncate(len);
        }
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
    }

    /// See [`Cache::join`].
    pub(super) fn join(&mut self, mut other: Self) {
        if other.rows.is_empty() {
            return;
        }
        if self.rows.is_empty() {
            *self = other;
            return;
        }
        let len = self.len.max(other.len);
        for cache in [&mut *self, &mut other] {
            let missing = len - cache.len;
            for row in &mut cache.rows {
                row.padding += missing;
                row.ids.splice(0..0, std::iter::repeat_n(0, missing));
            }
        }
        self.rows.append(&mut other.rows);
        self.len = len;
    }

    /// See [`Cache::keep`].
    pub(super) fn keep(&mut self, rows: &[usize]) {
        self.select(rows);
        let dropped = self.rows.iter().map(|row| row.padding).min().unwrap_or(self.len);
        for row in &mut self.rows {
            row.padding -= dropped;
            row.ids.drain(..dropped.min(row.ids.len()));
        }
        self.len -= dropped;
    }

    /// The value's caches of all rows.
    pub(super) fn caches(&self) -> impl Iterator<Item = &C> {
        self.rows.iter().flat_map(|row| &row.caches)
    }
}

impl<C, S> TextRow<C, S> {
    /// The base tokens so far, without padding.
    pub(crate) fn text_ids(&self) -> &[u32] {
        &self.ids[self.padding.min(self.ids.len())..]
    }

    /// The number of leading tokens of `tokens` that the caches hold.
    pub(crate) fn shared(&self, tokens: &[u32]) -> usize {
        shared_prefix_len(&self.held, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of base tokens, left padded with 0, that no value reads.
    fn cache(texts: &[&[u32]]) -> TextCache<()> {
        let len = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padding: Vec<usize> = texts.iter().map(|text| len - text.len()).collect();
        let mut cache = TextCache::new(&padding, &[]);
        for (row, text) in cache.rows.iter_mut().zip(texts) {
            row.ids = std::iter::repeat_n(0, len - text.len()).chain(text.iter().copied()).collect();
        }
        cache.advance(len);
        cache
    }

    fn texts(cache: &TextCache<()>) -> Vec<&[u32]> {
        assert!(cache.rows.iter().all(|row| row.ids.len() == cache.len), "rows end together");
        cache.rows.iter().map(TextRow::text_ids).collect()
    }

    #[test]
    fn rows_join_at_their_ends_and_leave_with_their_padding() {
        let mut all = cache(&[]);
        all.join(cache(&[&[1, 2], &[3]]));
        all.join(cache(&[&[4, 5, 6, 7]]));
        all.join(cache(&[]));
        assert_eq!((texts(&all), all.len()), (vec![&[1, 2][..], &[3], &[4, 5, 6, 7]], 4));
        all.keep(&[1, 0, 1]);
        assert_eq!((texts(&all), all.len()), (vec![&[3][..], &[1, 2], &[3]], 2));
        all.keep(&[]);
        assert!(all.is_empty());
    }
}
