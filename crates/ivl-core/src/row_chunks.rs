//! Work on logits in chunks that fit in memory.

use std::ops::Range;

/// Positions that one forward pass reads of a long prompt: bounds the attention scores.
pub const PREFILL_CHUNK: usize = 512;

/// Floats that stay in a near cache between being computed and being read: 16 MiB in f32.
const NEAR: usize = 1 << 22;

/// Rows for which it pays to read a weight matrix once more.
const FEWEST_ROWS: usize = 128;

/// An upper bound on the floats, mostly logits, that a piece of work holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogitBudget {
    floats: usize,
}

impl Default for LogitBudget {
    /// 256 MiB of f32.
    fn default() -> Self {
        Self::mebibytes(256)
    }
}

impl LogitBudget {
    /// A bound in mebibytes of f32.
    pub const fn mebibytes(mebibytes: usize) -> Self {
        Self { floats: mebibytes * (1 << 18) }
    }

    /// Rows of `row_numel` floats each that fit; at least 1.
    pub fn rows(self, row_numel: usize) -> usize {
        (self.floats / row_numel.max(1)).max(1)
    }

    /// Ranges of `rows` rows, as many in each as fit.
    pub fn chunks(self, rows: usize, row_numel: usize) -> impl Iterator<Item = Range<usize>> {
        row_ranges(rows, self.rows(row_numel))
    }
}

/// Ranges of rows to compute at once, where each row holds `row_numel` floats, such as logits: as many rows as stay in a
/// near cache, but at least 128, at most 512, and never more than the default [`LogitBudget`], or one.
pub fn row_chunks(rows: usize, row_numel: usize) -> impl Iterator<Item = Range<usize>> {
    let near = (NEAR / row_numel.max(1)).clamp(FEWEST_ROWS, PREFILL_CHUNK);
    row_ranges(rows, near.min(LogitBudget::default().rows(row_numel)))
}

/// `0..rows` in ranges of `size`; the last may be shorter.
pub fn row_ranges(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(size).map(move |start| start..(start + size).min(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_fit_and_leave_nothing_out() {
        for (rows, numel, largest) in [
            (0, 10, 0),
            (7, 0, 7),
            (1200, 1, 512),
            (999, 30_000, 139),
            (999, 1 << 18, 128),
            (5, 1 << 25, 2),
            (3, 1 << 30, 1),
        ] {
            let all: Vec<Range<usize>> = row_chunks(rows, numel).collect();
            assert!(all.iter().cloned().flatten().eq(0..rows));
            assert_eq!(all.iter().map(Range::len).max().unwrap_or(0), largest, "{rows} rows of {numel}");
        }
    }

    #[test]
    fn a_budget_holds_whole_rows_and_at_least_one() {
        assert_eq!(LogitBudget::mebibytes(128).rows(1 << 15), 1 << 10);
        assert_eq!(LogitBudget::default().rows(usize::MAX), 1);
        assert!(LogitBudget::mebibytes(1).chunks(5, 1 << 17).eq([0..2, 2..4, 4..5]));
    }
}
