//! Scales, one for each group of a matrix.

use half::{bf16, f16};
use safetensors::Dtype;

/// A matrix of scales: of groups of outputs, and of groups of inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    number: ScaleType,
    /// Groups of inputs for each group of outputs; 0 if one scale is for all groups.
    stride: [usize; 2],
}

/// A type of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScaleType {
    F32,
    F16,
    Bf16,
    /// The exponent of a power of two, plus 127.
    Exponent,
    /// A whole number from -128 to 127: zero points.
    Int8,
}

impl ScaleType {
    /// The types of tensors with scales.
    pub(super) const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

    /// The type of a tensor of scales or zero points.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::F8_E8M0 | Dtype::U8 => Self::Exponent,
            Dtype::I8 => Self::Int8,
            _ => return None,
        })
    }

    #[inline]
    fn read(self, bytes: &[u8], index: usize) -> f32 {
        let pair = || [bytes[2 * index], bytes[2 * index + 1]];
        match self {
            Self::F32 => {
                let bytes = &bytes[4 * index..4 * index + 4];
                f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
            }
            Self::F16 => f16::from_le_bytes(pair()).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(pair()).to_f32(),
            Self::Exponent => 2f32.powi(i32::from(bytes[index]) - 127),
            Self::Int8 => f32::from(bytes[index] as i8),
        }
    }
}

impl Grid {
    /// A number for each group of outputs and inputs: the distance of neighbouring groups of outputs, and of inputs.
    pub(super) fn new(number: ScaleType, stride: [usize; 2]) -> Self {
        Self { number, stride }
    }

    /// The number of a group.
    ///
    /// # Panics
    /// If there is no such group.
    #[inline]
    pub(super) fn at(&self, bytes: &[u8], [outputs, inputs]: [usize; 2]) -> f32 {
        self.number.read(bytes, outputs * self.stride[0] + inputs * self.stride[1])
    }
}
