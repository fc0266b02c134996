//! Rotary position embedding.

use crate::parallel_rows::for_row_groups;

/// Turns pair `(x_i, x_{i + pairs})` of each head by its angle, in place; numbers after the pairs stay as they are.
///
/// # Shapes
/// - `x`: `[positions, heads * dim]`
/// - `cos`, `sin`: `[n, pairs]` where `n` divides `positions`: the angles repeat
///
/// # Panics
/// If the shapes do not fit.
pub fn rotate(x: &mut [f32], heads: usize, dim: usize, pairs: usize, cos: &[f32], sin: &[f32]) {
    assert!(2 * pairs <= dim && cos.len() == sin.len(), "pairs within a head, and a sine for each cosine");
    let width = heads * dim;
    let angles = cos.len() / pairs;
    assert_eq!(x.len() % (width * angles), 0, "the angles repeat a whole number of times");
    for_row_groups(x, width, |first, rows| {
        for (position, row) in (first..).zip(rows.chunks_exact_mut(width)) {
            let at = position % angles * pairs;
            let (cos, sin) = (&cos[at..at + pairs], &sin[at..at + pairs]);
            for head in row.chunks_exact_mut(dim) {
                let (first, second) = head.split_at_mut(pairs);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    });
}
