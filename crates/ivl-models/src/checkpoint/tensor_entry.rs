//! A tensor of a checkpoint: its type and shape, and where its numbers are.

use std::fmt;
use std::ops::Range;

use safetensors::Dtype;

use super::stored_tensor::StoredType;
use crate::gguf::GgufType;
use crate::quantization::QuantizedLayout;

/// A tensor.
#[derive(Debug, Clone)]
pub(super) struct FileTensor {
    pub(super) shape: Vec<usize>,
    /// Its name in the file.
    pub(super) stored_name: String,
    pub(super) numbers: NumberPlaces,
}

/// Where the numbers of a tensor are.
#[derive(Debug, Clone)]
pub(super) enum NumberPlaces {
    /// In one place.
    Plain(StoredKind, Place),
    /// Put together from codes, scales and zero points.
    Quantized { layout: Box<QuantizedLayout>, codes: Place, scales: Place, zeros: Option<Place> },
}

/// Bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The index of the file.
    pub(super) file: usize,
    pub(super) bytes: Range<usize>,
}

impl FileTensor {
    /// Every place that its numbers are made of; the first is that of the numbers or codes.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let (first, rest) = match &self.numbers {
            NumberPlaces::Plain(_, place) => (place, [None, None]),
            NumberPlaces::Quantized { codes, scales, zeros, .. } => (codes, [Some(scales), zeros.as_ref()]),
        };
        std::iter::once(first).chain(rest.into_iter().flatten())
    }

    /// Type and place of the numbers, if they are in one place.
    pub(super) fn plain(&self) -> Option<(StoredKind, &Place)> {
        match &self.numbers {
            NumberPlaces::Plain(kind, place) => Some((*kind, place)),
            NumberPlaces::Quantized { .. } => None,
        }
    }
}

/// The type of a tensor in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredKind {
    /// One number after the other.
    Element(Dtype),
    Gguf(GgufType),
}

impl StoredKind {
    /// How its numbers are read, if it is made of numbers that models use.
    pub(super) fn stored(self) -> Option<StoredType> {
        match self {
            Self::Element(Dtype::F32) => Some(StoredType::F32),
            Self::Element(Dtype::F16) => Some(StoredType::F16),
            Self::Element(Dtype::BF16) => Some(StoredType::Bf16),
            Self::Element(_) => None,
            Self::Gguf(kind) => StoredType::of_gguf(kind),
        }
    }

    /// The types that are read, in an error.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Element(_) => {
                "F32, F16 or BF16, or part of a weight that quantization_config in config.json describes"
                    .to_owned()
            }
            Self::Gguf(_) => {
                let names = StoredType::of_gguf_names();
                format!(
                    "one of {names}; use another file of the model, or make one with llama-quantize of llama.cpp"
                )
            }
        }
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(dtype) => write!(f, "{dtype:?}"),
            Self::Gguf(kind) => write!(f, "{kind}"),
        }
    }
}
