//! The types of tensors in GGUF files.

use std::fmt;

/// A type of tensors: how many elements a block has, and how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the names of the format")]
pub enum GgufType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Brain floats.
    BF16,
    /// 64-bit floats.
    F64,
    /// Integers, which carry no weights.
    I8,
    /// Integers, which carry no weights.
    I16,
    /// Integers, which carry no weights.
    I32,
    /// Integers, which carry no weights.
    I64,
    /// Blocks of 32 with a scale.
    Q4_0,
    /// Blocks of 32 with scale and minimum.
    Q4_1,
    /// Blocks of 32 with a scale.
    Q5_0,
    /// Blocks of 32 with scale and minimum.
    Q5_1,
    /// Blocks of 32 with a scale.
    Q8_0,
    /// Blocks of 32 with scale and sum.
    Q8_1,
    /// Blocks of 256 in 16 parts.
    Q2_K,
    /// Blocks of 256 in 16 parts.
    Q3_K,
    /// Blocks of 256 in 8 parts.
    Q4_K,
    /// Blocks of 256 in 8 parts.
    Q5_K,
    /// Blocks of 256 in 16 parts.
    Q6_K,
    /// Blocks of 256 with a scale.
    Q8_K,
    /// Lattice points.
    IQ2_XXS,
    /// Lattice points.
    IQ2_XS,
    /// Lattice points.
    IQ2_S,
    /// Lattice points.
    IQ3_XXS,
    /// Lattice points.
    IQ3_S,
    /// Lattice points.
    IQ1_S,
    /// Lattice points.
    IQ1_M,
    /// Blocks of 32 over a table of 16 numbers.
    IQ4_NL,
    /// Blocks of 256 over a table of 16 numbers.
    IQ4_XS,
    /// Ternary numbers.
    TQ1_0,
    /// Ternary numbers.
    TQ2_0,
    /// Blocks of 32 four-bit floats with an exponent.
    MXFP4,
    /// Blocks of 64 four-bit floats with scales.
    NVFP4,
    /// Signs.
    Q1_0,
}

/// Type, its number in files, elements of a block, bytes of a block.
type Row = (GgufType, u32, usize, usize);

const TYPES: [Row; 34] = [
    (GgufType::F32, 0, 1, 4),
    (GgufType::F16, 1, 1, 2),
    (GgufType::Q4_0, 2, 32, 18),
    (GgufType::Q4_1, 3, 32, 20),
    (GgufType::Q5_0, 6, 32, 22),
    (GgufType::Q5_1, 7, 32, 24),
    (GgufType::Q8_0, 8, 32, 34),
    (GgufType::Q8_1, 9, 32, 36),
    (GgufType::Q2_K, 10, 256, 84),
    (GgufType::Q3_K, 11, 256, 110),
    (GgufType::Q4_K, 12, 256, 144),
    (GgufType::Q5_K, 13, 256, 176),
    (GgufType::Q6_K, 14, 256, 210),
    (GgufType::Q8_K, 15, 256, 292),
    (GgufType::IQ2_XXS, 16, 256, 66),
    (GgufType::IQ2_XS, 17, 256, 74),
    (GgufType::IQ3_XXS, 18, 256, 98),
    (GgufType::IQ1_S, 19, 256, 50),
    (GgufType::IQ4_NL, 20, 32, 18),
    (GgufType::IQ3_S, 21, 256, 110),
    (GgufType::IQ2_S, 22, 256, 82),
    (GgufType::IQ4_XS, 23, 256, 136),
    (GgufType::I8, 24, 1, 1),
    (GgufType::I16, 25, 1, 2),
    (GgufType::I32, 26, 1, 4),
    (GgufType::I64, 27, 1, 8),
    (GgufType::F64, 28, 1, 8),
    (GgufType::IQ1_M, 29, 256, 56),
    (GgufType::BF16, 30, 1, 2),
    (GgufType::TQ1_0, 34, 256, 54),
    (GgufType::TQ2_0, 35, 256, 66),
    (GgufType::MXFP4, 39, 32, 17),
    (GgufType::NVFP4, 40, 64, 36),
    (GgufType::Q1_0, 41, 128, 18),
];

impl GgufType {
    /// The type with a number.
    ///
    /// # Errors
    /// What is known about a number that is none of a type.
    pub(super) fn from_id(id: u32) -> Result<Self, &'static str> {
        match TYPES.iter().find(|row| row.1 == id) {
            Some(row) => Ok(row.0),
            None if matches!(id, 4 | 5 | 31..=33 | 36..=38) => Err("was removed from the format"),
            None => Err("ivl does not know"),
        }
    }

    /// The type with a name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().map(|row| row.0).find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    fn row(self) -> &'static Row {
        TYPES.iter().find(|row| row.0 == self).unwrap_or(&TYPES[0])
    }

    /// Its number in files.
    pub(super) fn id(self) -> u32 {
        self.row().1
    }

    /// Elements of a block.
    pub fn block_elements(self) -> usize {
        self.row().2
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().3
    }

    /// Its name, such as `Q4_K`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

impl fmt::Display for GgufType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
