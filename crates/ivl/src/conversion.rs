//! Models from one file format to another.

use std::path::Path;
use std::str::FromStr;

use ivl_models::ValueCard;
use ivl_models::gguf::GgufType;

use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// A format that models are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFormat {
    /// A GGUF file with matrices of this type.
    Gguf(GgufType),
    /// A directory in Hugging Face layout with weights of this type: F32, F16 or BF16.
    HuggingFace(GgufType),
}

impl FromStr for ModelFormat {
    type Err = Error;

    /// `gguf:TYPE`, `hf` or `hf:TYPE`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownFormat { got: text.to_owned() };
        let (format, kind) = text.split_once(':').unwrap_or((text, ""));
        let kind = match (format, kind) {
            ("hf", "") => GgufType::F32,
            _ => GgufType::from_name(kind).ok_or_else(unknown)?,
        };
        match format {
            "gguf" => Ok(Self::Gguf(kind)),
            "hf" => Ok(Self::HuggingFace(kind)),
            _ => Err(unknown()),
        }
    }
}

/// Writes a model or value (a directory, a GGUF file or a hub name) in another format, whole or not at all. Adapters are merged
/// into the model that they were trained on. The result says what the format has no place for.
///
/// # Errors
/// [`Error::Exists`] if there is something at `out`, names that cannot be resolved, files that cannot be read or written, and
/// models that the format cannot hold.
pub fn convert(name: &str, format: ModelFormat, out: &Path) -> Result<Vec<String>> {
    if out.exists() {
        return Err(Error::Exists { path: out.to_owned() });
    }
    let open = OpenCheckpoint::open(name)?;
    let net = open.merged()?;
    match format {
        ModelFormat::Gguf(kind) => {
            let card = ValueCard::read(&open.path)?;
            Ok(open.checkpoint.save_gguf(net.as_ref(), kind, card.as_ref(), out)?)
        }
        ModelFormat::HuggingFace(kind) => {
            open.checkpoint.save_directory(net.as_ref(), kind, out)?;
            Ok(Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        assert_eq!("gguf:q4_k".parse::<ModelFormat>().expect("a format"), ModelFormat::Gguf(GgufType::Q4_K));
        assert_eq!("hf".parse::<ModelFormat>().expect("a format"), ModelFormat::HuggingFace(GgufType::F32));
        assert_eq!(
            "hf:BF16".parse::<ModelFormat>().expect("a format"),
            ModelFormat::HuggingFace(GgufType::BF16)
        );
        for text in ["gguf", "gguf:Q4_K_M", "mlx", "onnx:F16"] {
            assert!(text.parse::<ModelFormat>().is_err(), "{text}");
        }
    }
}
