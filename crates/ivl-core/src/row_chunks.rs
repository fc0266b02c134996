//! Work cut into pieces that fit in memory.

use std::ops::Range;

use crate::decode::generate::PREFILL;

/// Upper bound on the numbers held at once: 64 Mi are 256 MiB in f32.
const NUMBERS_AT_ONCE: usize = 1 << 26;

/// Numbers that stay in a near cache between being computed and being read: 16 MiB in f32.
const NEAR: usize = 1 << 22;

/// RowWeights that are worth reading a weight matrix once more.
const ROWS: usize = 128;

/// Ranges of rows or positions to compute at once, where each holds so many numbers, such as logits: as many as stay in a near
/// cache, but at least 128, at most 512, and never more than fit in 256 MiB of f32, or one.
pub fn row_chunks(rows: usize, numbers: usize) -> impl Iterator<Item = Range<usize>> {
    let numbers = numbers.max(1);
    let size = (NEAR / numbers).clamp(ROWS, PREFILL).min(NUMBERS_AT_ONCE / numbers).max(1);
    (0..rows).step_by(size).map(move |start| start..(start + size).min(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_and_leave_nothing_out() {
        for (rows, numbers, largest) in [
            (0, 10, 0),
            (7, 0, 7),
            (1200, 1, 512),
            (999, 30_000, 139),
            (999, 1 << 18, 128),
            (5, 1 << 25, 2),
            (3, 1 << 30, 1),
        ] {
            let all: Vec<Range<usize>> = row_chunks(rows, numbers).collect();
            assert!(all.iter().cloned().flatten().eq(0..rows));
            assert_eq!(all.iter().map(Range::len).max().unwrap_or(0), largest, "{rows} rows of {numbers}");
        }
    }
}
