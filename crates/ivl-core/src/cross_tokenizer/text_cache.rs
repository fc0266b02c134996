//! The cache of models that read the base's text in tokens of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::cache::Cache;
use crate::causal_lm::CausalLm;
use crate::causal_lm::token_tensor;
use crate::cross_tokenizer::byte_events::Next;
use crate::cross_tokenizer::retokenizer::{Context, Reader, Transcript};

/// For every row of a batch, the base's tokens so far and what the value has read of them.
///
/// The rows are apart: two texts of the same number of base tokens have different numbers of value tokens. Whatever is
/// forgotten of the base's tokens, the value's caches are only cut back when it next reads, to what the two texts
/// share.
#[derive(Debug, Clone)]
pub struct TextCache {
    pub(crate) rows: Vec<TextRow>,
    len: usize,
}

impl TextCache {
    /// An empty cache for `padding.len()` rows read by `lms`; row `r` starts with `padding[r]` positions to be ignored.
    pub(crate) fn new(padding: &[usize], lms: &[&dyn CausalLm]) -> Self {
        let row = |&padding: &usize| TextRow {
            padding,
            ids: Vec::new(),
            held: Vec::new(),
            caches: lms.iter().map(|lm| lm.new_cache(&[0])).collect(),
            recent: BTreeMap::new(),
            alpha: 0.0,
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

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for row in &mut self.rows {
            row.ids.truncate(len);
        }
    }

    pub(crate) fn select(&mut self, rows: &[usize]) {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
    }

    /// See [`Cache::join`].
    pub(crate) fn join(&mut self, mut other: Self) {
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
    pub(crate) fn keep(&mut self, rows: &[usize]) {
        self.select(rows);
        let dropped = self.rows.iter().map(|row| row.padding).min().unwrap_or(self.len);
        for row in &mut self.rows {
            row.padding -= dropped;
            row.ids.drain(..dropped.min(row.ids.len()));
        }
        self.len -= dropped;
    }

    /// The value's caches of all rows.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &Cache> {
        self.rows.iter().flat_map(|row| &row.caches)
    }
}

/// One row of a [`TextCache`].
#[derive(Debug, Clone)]
pub(crate) struct TextRow {
    padding: usize,
    /// Base tokens so far, padding included.
    ids: Vec<u32>,
    /// The value's tokens in the caches.
    held: Vec<u32>,
    caches: Vec<Cache>,
    /// What was computed after some of them, on the host, under a weight of the value.
    pub(crate) recent: BTreeMap<usize, Arc<Next>>,
    alpha: f64,
}

impl TextRow {
    /// Adds base tokens and returns what a value has to read at the last `wanted` of them; padding has nothing to be read.
    pub(crate) fn extend(&mut self, reader: &Reader, new: &[u32], wanted: usize) -> Vec<Context> {
        self.ids.extend_from_slice(new);
        let first = self.ids.len() - wanted.min(new.len());
        let (mut transcript, mut contexts) = (Transcript::default(), Vec::with_capacity(wanted));
        let mut last: Option<(usize, Option<Arc<[u32]>>)> = None;
        for (position, &id) in self.ids.iter().enumerate() {
            let padding = position < self.padding;
            if !padding {
                reader.push(&mut transcript, id);
            }
            if position < first {
                continue;
            }
            let len = transcript.text.len();
            if !padding && last.as_ref().is_none_or(|(of, _)| *of != len) {
                last = Some((len, reader.tokens(&transcript.text)));
            }
            let tokens = last.as_ref().and_then(|(_, tokens)| tokens.clone());
            contexts.push(Context { tokens, pending: transcript.pending.clone() });
        }
        contexts
    }

    /// The base tokens so far, without padding.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids[self.padding.min(self.ids.len())..]
    }

    /// How many of `tokens` the caches hold.
    pub(crate) fn shared(&self, tokens: &[u32]) -> usize {
        shared(&self.held, tokens)
    }

    /// The weight of the value.
    pub(crate) fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Changes the weight; forgets what was computed under another one.
    pub(crate) fn weigh(&mut self, alpha: f64) {
        if self.alpha != alpha {
            self.alpha = alpha;
            self.recent.clear();
        }
    }

    /// Forgets all value tokens from `len` on.
    pub(crate) fn rewind(&mut self, len: usize) {
        if len < self.held.len() {
            self.held.truncate(len);
            self.caches.iter_mut().for_each(|cache| cache.truncate(len));
            self.recent.split_off(&len);
        }
    }

    /// Reads value tokens after those held; logits `[1, tokens, value_vocab]` of one model.
    pub(crate) fn read(&mut self, lm: &dyn CausalLm, tokens: &[u32]) -> Tensor<3> {
        let logits = lm.forward(token_tensor(tokens, 1, &lm.device()), &mut self.caches[0]);
        self.held.extend_from_slice(tokens);
        logits
    }

    /// As [`read`](Self::read) for several models, and after the last token alone: `[1, value_vocab]` of each.
    pub(crate) fn read_last(&mut self, lms: &[&dyn CausalLm], tokens: &[u32]) -> Vec<Tensor<2>> {
        let logits = lms
            .iter()
            .zip(&mut self.caches)
            .map(|(lm, cache)| lm.next_logits(token_tensor(tokens, 1, &lm.device()), cache))
            .collect();
        self.held.extend_from_slice(tokens);
        logits
    }

    /// The value's tokens in the caches.
    pub(crate) fn held(&self) -> &[u32] {
        &self.held
    }

    /// The caches of the first `kept` tokens, once for each of `copies` rows: to look ahead from there.
    pub(crate) fn branches(&self, copies: usize, kept: usize) -> Vec<Cache> {
        let mut caches = self.caches.clone();
        for cache in &mut caches {
            cache.truncate(kept);
            cache.select(&vec![0; copies]);
        }
        caches
    }
}

/// Length of the longest common beginning.
pub(crate) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RowWeights of base tokens, left padded with 0, that no value reads.
    fn cache(texts: &[&[u32]]) -> TextCache {
        let len = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padding: Vec<usize> = texts.iter().map(|text| len - text.len()).collect();
        let mut cache = TextCache::new(&padding, &[]);
        for (row, text) in cache.rows.iter_mut().zip(texts) {
            row.ids = std::iter::repeat_n(0, len - text.len()).chain(text.iter().copied()).collect();
        }
        cache.advance(len);
        cache
    }

    fn texts(cache: &TextCache) -> Vec<&[u32]> {
        assert!(cache.rows.iter().all(|row| row.ids.len() == cache.len), "rows end together");
        cache.rows.iter().map(TextRow::ids).collect()
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
