//! The block formats: names and sizes.

/// A block format of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// 4.5 bits: 32 numbers of four bits around zero, with a half-precision scale.
    Q4_0,
    /// 5 bits: as [`Q4_0`](Self::Q4_0), from zero, with a minimum.
    Q4_1,
    /// 5.5 bits: 32 numbers of five bits around zero, with a half-precision scale.
    Q5_0,
    /// 6 bits: as [`Q5_0`](Self::Q5_0), from zero, with a minimum.
    Q5_1,
    /// 8.5 bits: 32 numbers of eight bits, with a half-precision scale.
    Q8_0,
    /// 2.625 bits: 256 numbers of two bits; each 16 have a scale and a minimum of four bits.
    Q2K,
    /// 3.4375 bits: 256 numbers of three bits; each 16 have a scale of six bits.
    Q3K,
    /// 4.5 bits: 256 numbers of four bits; each 32 have a scale and a minimum of six bits.
    Q4K,
    /// 5.5 bits: 256 numbers of five bits; each 32 have a scale and a minimum of six bits.
    Q5K,
    /// 6.5625 bits: 256 numbers of six bits; each 16 have a scale of eight bits.
    Q6K,
    /// 4.5 bits: 32 indices into a table of 16 numbers, with a half-precision scale.
    Iq4Nl,
    /// 4.25 bits: 256 indices into the table of [`Iq4Nl`](Self::Iq4Nl); each 32 have a scale of six bits.
    Iq4Xs,
    /// 4.25 bits: 32 four-bit floats, with a power of two as scale (OCP Microscaling Formats 1.0).
    Mxfp4,
}

/// Why bytes or numbers are not blocks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// The bytes are no whole number of blocks.
    #[error("{bytes} bytes are no whole blocks of {}, expected a multiple of {}", .format.name(), .format.bytes())]
    Bytes {
        /// Of the blocks.
        format: BlockFormat,
        /// That were given.
        bytes: usize,
    },
    /// The numbers are not those of the blocks.
    #[error("{numbers} numbers for {}, whose blocks here have {}", .format.name(), .blocks.saturating_mul(.format.elements()))]
    Numbers {
        /// Of the blocks.
        format: BlockFormat,
        /// That were given.
        numbers: usize,
        /// That the bytes make.
        blocks: usize,
    },
    /// ivl writes no such blocks.
    #[error("ivl reads {} and does not write it, expected one of {}", .0.name(), written())]
    NotWritten(BlockFormat),
    /// A number that has no place in a block.
    #[error(
        "number {index} is {number}, expected finite numbers; their scale has half precision, so that the limit is 65504"
    )]
    NotFinite {
        /// Among the numbers.
        index: usize,
        /// The number.
        number: f32,
    },
}

/// Names of the formats that [`BlockFormat::quantize`] writes.
fn written() -> String {
    let names: Vec<_> =
        BlockFormat::ALL.into_iter().filter(|format| format.is_written()).map(BlockFormat::name).collect();
    names.join(", ")
}

impl BlockFormat {
    /// All formats.
    pub const ALL: [Self; 13] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Mxfp4,
    ];

    /// The name in GGUF, for example `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Mxfp4 => "MXFP4",
        }
    }

    /// Weights in a block.
    pub fn elements(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs => 256,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Mxfp4 => 17,
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Iq4Xs => 136,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Whether [`quantize`](Self::quantize) writes it.
    pub fn is_written(self) -> bool {
        !matches!(self, Self::Q2K | Self::Q3K | Self::Iq4Xs)
    }

    /// Whether blocks and numbers have lengths that go together.
    pub(super) fn check(self, blocks: &[u8], numbers: &[f32]) -> Result<(), BlockError> {
        if !blocks.len().is_multiple_of(self.bytes()) {
            return Err(BlockError::Bytes { format: self, bytes: blocks.len() });
        }
        let count = blocks.len() / self.bytes();
        if count.checked_mul(self.elements()) != Some(numbers.len()) {
            return Err(BlockError::Numbers { format: self, numbers: numbers.len(), blocks: count });
        }
        Ok(())
    }
}
