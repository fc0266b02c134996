//! In which type a cache keeps keys and values.

use burn::tensor::DType;

/// Neighbouring numbers of a key or value that share a scale.
const GROUP: usize = 32;

/// Bytes of a scale.
const SCALE: usize = 2;

/// In which type a cache keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFormat {
    /// As floats of this type.
    Floats(DType),
    /// As codes of eight bits, of which 32 neighbours share a scale in half precision; the last group of a vector may be shorter.
    Int8,
}

impl KvFormat {
    /// Bytes of a key or value of `dim` numbers.
    pub fn bytes(self, dim: usize) -> usize {
        match self {
            Self::Floats(dtype) => dim * dtype.size(),
            Self::Int8 => dim + SCALE * Self::groups(dim),
        }
    }

    /// Groups of a key or value of `dim` numbers that have a scale each.
    pub(super) fn groups(dim: usize) -> usize {
        dim.div_ceil(GROUP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_take_a_byte_each_and_a_scale_for_each_group() {
        assert_eq!(KvFormat::Floats(DType::F16).bytes(64), 128);
        assert_eq!(KvFormat::Int8.bytes(64), 64 + 4);
        assert_eq!(KvFormat::Int8.bytes(40), 40 + 4);
    }
}
