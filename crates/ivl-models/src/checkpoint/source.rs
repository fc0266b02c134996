//! Where a checkpoint is: a directory in Hugging Face layout, or a GGUF file.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::gguf::{Architecture, Gguf};

/// Where a checkpoint is.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A directory in Hugging Face layout.
    Directory(PathBuf),
    /// A GGUF file, or the first of its parts.
    Gguf(Box<GgufModel>),
}

/// A GGUF file of a known architecture.
#[derive(Debug, Clone)]
pub(super) struct GgufModel {
    pub(super) gguf: Gguf,
    pub(super) architecture: &'static Architecture,
}

impl GgufModel {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let gguf = Gguf::open(path)?;
        Ok(Self { architecture: Architecture::of(&gguf)?, gguf })
    }
}

impl Source {
    /// The directory or the file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(dir) => dir,
            Self::Gguf(model) => model.gguf.path(),
        }
    }

    /// The name for the configuration in errors: `config.json` of a directory, or the file.
    pub(super) fn config_path(&self) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join("config.json"),
            Self::Gguf(model) => model.gguf.path().to_owned(),
        }
    }
}
