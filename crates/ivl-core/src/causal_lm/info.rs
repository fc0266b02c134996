//! Properties that a model reports.

use std::iter::Sum;
use std::ops::{Add, Range};

/// Facts about a model that decide how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// A name for messages.
    pub name: String,
    /// How the logits depend on the length of the text, besides the text itself.
    pub length_dependence: LengthDependence,
    /// Bytes of cache that one text takes, with all values: keys for each position, and states of recurrent layers.
    pub cache_bytes: CacheBytes,
}

impl Default for ModelInfo {
    /// "the model", whose position encoding does not depend on the length and which keeps no keys.
    fn default() -> Self {
        Self::new("the model")
    }
}

impl ModelInfo {
    /// A model of this name, whose position encoding does not depend on the length and which keeps no keys.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            length_dependence: LengthDependence::none(),
            cache_bytes: CacheBytes::default(),
        }
    }

    /// Sets [`length_dependence`](Self::length_dependence).
    #[must_use]
    pub fn length_dependence(mut self, dependence: LengthDependence) -> Self {
        self.length_dependence = dependence;
        self
    }

    /// Sets [`cache_bytes`](Self::cache_bytes).
    #[must_use]
    pub fn cache_bytes(mut self, bytes: CacheBytes) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The properties of this model together with those of a value that reads the same text: both dependences, the sum of the bytes.
    #[must_use]
    pub(crate) fn beside(mut self, value: &Self) -> Self {
        self.length_dependence = self.length_dependence.and(&value.length_dependence);
        self.cache_bytes = self.cache_bytes + value.cache_bytes;
        self
    }
}

/// Bytes of cache that a text takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheBytes {
    /// Whatever its length.
    pub per_text: usize,
    /// For each of its positions.
    pub per_position: usize,
}

impl CacheBytes {
    /// Bytes of a text of `length` positions.
    pub fn of(self, length: usize) -> usize {
        self.per_position.saturating_mul(length).saturating_add(self.per_text)
    }

    /// Bytes of as many texts.
    #[must_use]
    pub fn times(self, texts: usize) -> Self {
        Self {
            per_text: self.per_text.saturating_mul(texts),
            per_position: self.per_position.saturating_mul(texts),
        }
    }
}

impl Add for CacheBytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            per_text: self.per_text.saturating_add(other.per_text),
            per_position: self.per_position.saturating_add(other.per_position),
        }
    }
}

impl Sum for CacheBytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// The lengths of a text at which a position encoding changes for all tokens that were read.
///
/// LongRoPE changes once, dynamic NTK with every token beyond the original context; most encodings never change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LengthDependence {
    /// Tokens can be read at once on either side of each range, not across it or inside.
    changes: Vec<Range<usize>>,
}

impl LengthDependence {
    /// Never changes.
    pub fn none() -> Self {
        Self::default()
    }

    /// Changes once, when the text becomes longer than `len` tokens.
    pub fn switches_at(len: usize) -> Self {
        Self { changes: std::iter::once(len..len).collect() }
    }

    /// Changes with every token beyond `len`.
    pub fn changes_after(len: usize) -> Self {
        Self { changes: std::iter::once(len..usize::MAX).collect() }
    }

    /// The changes of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.changes.extend_from_slice(&other.changes);
        self
    }

    /// In tokens, for a network that reads `stride` positions for each token.
    #[must_use]
    pub fn with_stride(self, stride: usize) -> Self {
        let in_tokens = |change: Range<usize>| change.start / stride..change.end.div_ceil(stride);
        Self { changes: self.changes.into_iter().map(in_tokens).collect() }
    }

    /// Whether tokens at these positions of a text (padding not counted) get the same logits when they are read at once
    /// as one after the other, so that tokens after any of them can be forgotten again.
    pub fn is_length_invariant(&self, positions: &Range<usize>) -> bool {
        self.changes.iter().all(|change| positions.end <= change.start || positions.start >= change.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_at_once_on_one_side_of_a_change() {
        let once = LengthDependence::switches_at(8);
        assert!(once.is_length_invariant(&(3..8)) && once.is_length_invariant(&(8..20)));
        assert!(!once.is_length_invariant(&(7..9)));
        let always = LengthDependence::changes_after(8);
        assert!(always.is_length_invariant(&(3..8)) && !always.is_length_invariant(&(8..9)));
        let both = once.and(&LengthDependence::switches_at(12));
        assert!(
            !both.is_length_invariant(&(10..13)) && LengthDependence::none().is_length_invariant(&(0..99))
        );
    }

    #[test]
    fn a_stride_counts_a_change_inside_a_token_as_one_at_that_token() {
        let odd = LengthDependence::switches_at(5).with_stride(2);
        let invariant: Vec<bool> = (0..5).map(|at| odd.is_length_invariant(&(at..at + 1))).collect();
        assert_eq!(invariant, [true, true, false, true, true]);
        assert!(LengthDependence::switches_at(8).with_stride(2).is_length_invariant(&(4..9)));
    }
}
