//! Rotary position embedding.

use crate::parallel_rows::for_row_groups;

/// The numbers of a head that are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryPairing {
    /// `x_i` and `x_{i + pairs}`.
    Half,
    /// `x_{2i}` and `x_{2i + 1}`.
    Interleaved,
}

/// A rotation of pairs of numbers in each head by angles that depend on the position; numbers after the pairs stay as they are.
#[derive(Debug, Clone, Copy)]
pub struct RotaryEmbedding<'a> {
    /// Heads of a position.
    pub heads: usize,
    /// Width of each head.
    pub dim: usize,
    /// Pairs that are turned in each head.
    pub pairs: usize,
    /// Which numbers make a pair.
    pub pairing: RotaryPairing,
    /// Cosines, shape `[n, pairs]` where `n` divides the number of positions: the angles repeat.
    pub cos: &'a [f32],
    /// Sines, of the same shape.
    pub sin: &'a [f32],
}

impl RotaryEmbedding<'_> {
    /// Turns each pair by its angle, in place.
    ///
    /// # Shapes
    /// - `x`: `[positions, heads * dim]`
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn rotate(&self, x: &mut [f32]) {
        let Self { heads, dim, pairs, pairing, cos, sin } = *self;
        assert!(
            2 * pairs <= dim && cos.len() == sin.len(),
            "pairs within a head, and a sine for each cosine"
        );
        let width = heads * dim;
        let angles = cos.len() / pairs;
        assert_eq!(x.len() % (width * angles), 0, "the angles repeat a whole number of times");
        for_row_groups(x, width, |first, rows| {
            for (position, row) in (first..).zip(rows.chunks_exact_mut(width)) {
                let at = position % angles * pairs;
                let (cos, sin) = (&cos[at..at + pairs], &sin[at..at + pairs]);
                for head in row.chunks_exact_mut(dim) {
                    match pairing {
                        RotaryPairing::Half => {
                            let (first, second) = head.split_at_mut(pairs);
                            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                            }
                        }
                        RotaryPairing::Interleaved => {
                            for (([a, b], c), s) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                            }
                        }
                    }
                }
            }
        });
    }
}
