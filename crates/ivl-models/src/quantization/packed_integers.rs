//! Whole numbers of few bits in words of 32.

/// Words with several codes each: a matrix of words, of which either neighbouring rows or neighbouring columns of codes share one.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedIntegers {
    bits: u32,
    /// Words in a row of the stored matrix.
    width: usize,
    axis: PackedAxis,
    /// The place of each code in its word.
    order: CodeOrder,
    /// What a stored code has more than the number it stands for.
    offset: i32,
}

/// The codes that share a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackedAxis {
    /// Neighbours in a stored column.
    Rows,
    /// Neighbours in a stored row.
    Columns,
}

/// The order of the codes in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeOrder {
    /// The first in the lowest bits.
    Ascending,
    /// That of AWQ: even codes, then odd ones.
    EvenThenOdd,
}

impl PackedIntegers {
    /// Codes of `bits` bits, 4 or 8, in rows of `width` words.
    pub(super) fn new(bits: u32, width: usize, axis: PackedAxis) -> Self {
        Self { bits, width, axis, order: CodeOrder::Ascending, offset: 0 }
    }

    pub(super) fn order(self, order: CodeOrder) -> Self {
        Self { order, ..self }
    }

    pub(super) fn offset(self, offset: i32) -> Self {
        Self { offset, ..self }
    }

    /// The number at a row and column of codes.
    ///
    /// # Panics
    /// If the matrix has no such row or column.
    #[inline]
    pub(super) fn at(&self, bytes: &[u8], row: usize, column: usize) -> f32 {
        let per_word = (32 / self.bits) as usize;
        let (word, slot) = match self.axis {
            PackedAxis::Rows => (row / per_word * self.width + column, row % per_word),
            PackedAxis::Columns => (row * self.width + column / per_word, column % per_word),
        };
        let slot = match self.order {
            CodeOrder::Ascending => slot,
            CodeOrder::EvenThenOdd => slot / 2 + slot % 2 * per_word / 2,
        };
        let bytes = &bytes[4 * word..4 * word + 4];
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let code = word >> (slot as u32 * self.bits) & ((1 << self.bits) - 1);
        (code as i32 - self.offset) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_every_order() {
        // Codes 0 to 7, lowest bits first.
        let word = 0x7654_3210u32.to_le_bytes();
        let columns = PackedIntegers::new(4, 1, PackedAxis::Columns);
        let row =
            |packed: PackedIntegers| (0..8).map(|column| packed.at(&word, 0, column)).collect::<Vec<_>>();
        assert_eq!(row(columns), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(row(columns.offset(8)), [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0]);
        // AWQ stores column 0, 2, 4, 6, 1, 3, 5, 7.
        assert_eq!(row(columns.order(CodeOrder::EvenThenOdd)), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        let rows = PackedIntegers::new(8, 2, PackedAxis::Rows);
        let words: Vec<u8> = (0..16).collect();
        // Four rows share a word: row 5 is the second code of the second row of words.
        assert_eq!(rows.at(&words, 5, 1), 13.0);
        assert_eq!(rows.at(&words, 3, 0), 3.0);
    }
}
