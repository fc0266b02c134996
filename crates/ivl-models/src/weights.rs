//! How the weights of a network are kept.

use burn::tensor::DType;
use ivl_kernels::PackedFormat;

/// How the weights of a network are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// As tensors of the device, in a type.
    Tensors(DType),
    /// Laid out for the kernels of the CPU, for inference; see [`Transformer::packed`](crate::Transformer::packed).
    Packed(PackedFormat),
    /// The same, each matrix as its file stores it: blocks as blocks, half precision as such, all else in f32. No weight is rounded;
    /// products with blocks round the activations.
    Stored,
}

impl Weights {
    /// `f32`, `f16`, `bf16`, `int8`, `int4`, `stored`, or the name of a block format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensors(DType::BF16) => "bf16",
            Self::Tensors(DType::F16) | Self::Packed(PackedFormat::F16) => "f16",
            Self::Packed(PackedFormat::INT8) => "int8",
            Self::Packed(PackedFormat::INT4) => "int4",
            Self::Packed(PackedFormat::Blocks(format)) => format.name(),
            Self::Tensors(_) | Self::Packed(PackedFormat::F32) => "f32",
            Self::Stored => "stored",
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::Tensors(DType::F32)
    }
}

impl From<DType> for Weights {
    fn from(dtype: DType) -> Self {
        Self::Tensors(dtype)
    }
}

impl From<PackedFormat> for Weights {
    fn from(format: PackedFormat) -> Self {
        Self::Packed(format)
    }
}
