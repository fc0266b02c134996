//! In which type the cache keeps keys and values.

use std::str::FromStr;

use burn::tensor::DType;
use ivl_core::cache::KvFormat;
use ivl_models::{Transformer, Weights};

use crate::error::{Error, Result};

/// The type in which the cache keeps keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvCacheDtype {
    /// On a CPU f16 where weights are quantised, else f32; on a GPU the type of the weights.
    #[default]
    Auto,
    /// 32-bit floating point; on the CPU only.
    F32,
    /// 16-bit floating point with five bits of exponent; on the CPU only.
    F16,
    /// Bytes in groups of 32 with a scale each: about half of the memory of f16; on the CPU only.
    Int8,
}

impl FromStr for KvCacheDtype {
    type Err = Error;

    /// The type of a name.
    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::Auto, Self::F32, Self::F16, Self::Int8];
        all.into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| Error::UnknownKvCache { got: name.to_owned() })
    }
}

impl KvCacheDtype {
    /// auto, f32, f16 or int8.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    fn format(self) -> Option<KvFormat> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(KvFormat::Floats(DType::F32)),
            Self::F16 => Some(KvFormat::Floats(DType::F16)),
            Self::Int8 => Some(KvFormat::Int8),
        }
    }

    /// Refuses what tensors of a device cannot do; `weights` are those of each part of a model.
    ///
    /// # Errors
    /// [`Error::UnsupportedKvCache`].
    pub(crate) fn check(self, weights: &[Weights]) -> Result<()> {
        match weights.iter().find(|weights| matches!(weights, Weights::Tensors(_))) {
            Some(tensors) if self != Self::Auto => {
                Err(Error::UnsupportedKvCache { dtype: self.name(), weights: tensors.name() })
            }
            _ => Ok(()),
        }
    }

    /// The network with a cache of this type.
    pub(crate) fn apply(self, net: Transformer) -> Transformer {
        match self.format() {
            Some(format) => net.with_kv_format(format),
            None => net,
        }
    }
}

#[cfg(test)]
mod tests {
    use ivl_models::PackedFormat;

    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!("int8".parse::<KvCacheDtype>().expect("a name"), KvCacheDtype::Int8);
        let refusal = "q8_0".parse::<KvCacheDtype>().expect_err("llama.cpp's name").to_string();
        assert_eq!(refusal, "the type of the cache is `q8_0`, expected auto, f32, f16 or int8");
    }

    #[test]
    fn a_device_with_tensors_keeps_keys_in_the_type_of_its_weights() {
        let packed = Weights::Packed(PackedFormat::F16);
        let tensors = Weights::Tensors(DType::BF16);
        assert!(KvCacheDtype::Int8.check(&[packed, Weights::Stored]).is_ok());
        assert!(KvCacheDtype::Auto.check(&[tensors]).is_ok());
        let refusal = KvCacheDtype::Int8.check(&[packed, tensors]).expect_err("layers on a GPU").to_string();
        assert_eq!(
            refusal,
            "the cache keeps keys and values of layers on a GPU in the type of their weights, bf16, expected auto, got int8; \
             int8, f16 and f32 are for models on the CPU"
        );
    }
}
