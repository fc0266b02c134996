//! The numbers of a stored tensor.

use half::{bf16, f16};
use ivl_kernels::BlockFormat;

use crate::gguf::GgufType;
use crate::quantization::QuantizedMatrix;

/// The numbers of one tensor, which lie in files. Bytes need not be aligned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoredTensor<'a> {
    /// Numbers of one type, or in blocks.
    Plain(&'a [u8], StoredType),
    /// Numbers that are put together from codes and scales.
    Quantized(QuantizedMatrix<'a>),
}

/// A type of stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Brain floats.
    Bf16,
    /// Blocks of quantised numbers.
    Blocks(BlockFormat),
}

impl StoredType {
    /// The type of a tensor in a GGUF file, if it is made of numbers that models use.
    pub(crate) fn of_gguf(kind: GgufType) -> Option<Self> {
        match kind {
            GgufType::F32 => Some(Self::F32),
            GgufType::F16 => Some(Self::F16),
            GgufType::BF16 => Some(Self::Bf16),
            _ => {
                let name = kind.name();
                BlockFormat::ALL.into_iter().find(|format| format.name() == name).map(Self::Blocks)
            }
        }
    }

    /// The type of a tensor in a GGUF file.
    pub(crate) fn in_gguf(self) -> GgufType {
        match self {
            Self::F32 => GgufType::F32,
            Self::F16 => GgufType::F16,
            Self::Bf16 => GgufType::BF16,
            Self::Blocks(format) => {
                GgufType::from_name(format.name()).expect("every block format is a type of GGUF files")
            }
        }
    }

    /// The types of GGUF files that are read.
    pub(crate) fn of_gguf_names() -> String {
        let blocks = BlockFormat::ALL.iter().map(|format| format.name());
        ["F32", "F16", "BF16"].into_iter().chain(blocks).collect::<Vec<_>>().join(", ")
    }
}

impl StoredType {
    /// Bytes of `len` numbers, which are whole blocks.
    pub(crate) fn size(self, len: usize) -> usize {
        match self {
            Self::F32 => 4 * len,
            Self::F16 | Self::Bf16 => 2 * len,
            Self::Blocks(format) => len / format.elements() * format.bytes(),
        }
    }

    /// The name of the type in `config.json`.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 | Self::Blocks(_) => "float32",
        }
    }

    /// Appends numbers as they are stored.
    ///
    /// # Errors
    /// Why the type cannot hold them.
    pub(crate) fn write(self, numbers: &[f32], bytes: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::F32 => bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            Self::F16 => {
                if let Some(number) = numbers.iter().find(|number| number.abs() > f16::MAX.to_f32()) {
                    return Err(format!(
                        "{number} does not fit 16 bits, expected at most {}; use BF16 or F32",
                        f16::MAX
                    ));
                }
                bytes.extend(numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()));
            }
            Self::Bf16 => {
                bytes.extend(numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()));
            }
            Self::Blocks(format) => {
                let start = bytes.len();
                bytes.resize(start + self.size(numbers.len()), 0);
                format.quantize(numbers, &mut bytes[start..]).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

impl StoredTensor<'_> {
    /// Reads as many numbers as `out` holds, from number `first` on; both are multiples of a block.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub(crate) fn read(&self, first: usize, out: &mut [f32]) {
        match self {
            Self::Plain(bytes, kind) => kind.read(bytes, first, out),
            Self::Quantized(matrix) => matrix.read(first, out),
        }
    }

    /// The first `len` numbers.
    pub(crate) fn numbers(&self, len: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; len];
        self.read(0, &mut numbers);
        numbers
    }
}

impl StoredType {
    fn read(self, bytes: &[u8], first: usize, out: &mut [f32]) {
        match self {
            Self::F32 => {
                for (number, bytes) in out.iter_mut().zip(bytes[4 * first..].chunks_exact(4)) {
                    *number = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
            Self::F16 => {
                for (number, bytes) in out.iter_mut().zip(bytes[2 * first..].chunks_exact(2)) {
                    *number = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                }
            }
            Self::Bf16 => {
                for (number, bytes) in out.iter_mut().zip(bytes[2 * first..].chunks_exact(2)) {
                    *number = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                }
            }
            Self::Blocks(format) => {
                let blocks = first / format.elements()..(first + out.len()) / format.elements();
                let bytes = &bytes[blocks.start * format.bytes()..blocks.end * format.bytes()];
                format.dequantize(bytes, out).expect("a row is a number of whole blocks");
            }
        }
    }
}
