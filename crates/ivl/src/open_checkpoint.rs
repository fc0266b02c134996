//! A model before its weights are read: a checkpoint, or adapters on one.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::Vocab;
use ivl_models::{Adapters, BaseCard, Checkpoint, Tokenizer, Transformer, TransformerLm};

use crate::device::{Dtype, Placement};
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::hub::resolve;
use crate::open_options::OpenOptions;
use crate::placement::ModelPlacement;

/// Configuration, tokenizer and vocabulary of a model; its weights are not read yet.
pub(crate) struct OpenCheckpoint {
    /// As it was named.
    pub(crate) name: String,
    /// The directory, or the GGUF file.
    pub(crate) path: PathBuf,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) vocab: Vocab,
    /// Of a directory that holds low-rank adapters: what they are, and the model that they adapt.
    adapters: Option<(Adapters, Checkpoint)>,
}

/// Weights in memory, for adapters that were trained on them.
pub(crate) struct SharedWeights<'a> {
    pub(crate) path: &'a Path,
    pub(crate) net: &'a Transformer,
    pub(crate) placement: &'a ModelPlacement,
}

impl OpenCheckpoint {
    /// Opens a directory, a GGUF file or a hub name. The model of adapters is looked up as well.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let checkpoint = Checkpoint::open(&resolve(name)?)?;
        let path = checkpoint.path().to_owned();
        let tokenizer = checkpoint.tokenizer()?;
        let vocab = checkpoint.vocab(&tokenizer)?;
        let adapters = match checkpoint.adapters()? {
            None => None,
            Some(adapters) => {
                let base = resolve(&adapters.base).map_err(|source| Error::AdapterBase {
                    value: path.display().to_string(),
                    base: adapters.base.clone(),
                    source: Box::new(source),
                })?;
                Some((adapters, Checkpoint::open(&base)?))
            }
        };
        Ok(Self { name: name.to_owned(), path, checkpoint, tokenizer, vocab, adapters })
    }

    /// What the card of a value says of it as a base.
    pub(crate) fn base_card(&self) -> BaseCard {
        let config = serde_json::to_vec(self.checkpoint.json()).expect("a map of JSON values serialises");
        BaseCard {
            name: self.name.clone(),
            config: sha256(&config),
            tokenizer: self.tokenizer.vocab().fingerprint().to_owned(),
        }
    }

    /// The low-rank adapters that the directory holds, if it holds adapters in place of weights.
    pub(crate) fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref().map(|(adapters, _)| adapters)
    }

    /// The number of positions that the model can read.
    pub(crate) fn max_positions(&self) -> usize {
        self.checkpoint.config().max_positions
    }

    /// The numbers that [`load`](Self::load) reads; those of adapters are few and do not count. Adapters on the model in a directory
    /// share its weights.
    pub(crate) fn numbers(&self, shared: Option<&Path>) -> u64 {
        match &self.adapters {
            None => self.checkpoint.num_parameters(),
            Some((_, base)) if shared.is_some_and(|shared| is_same_dir(shared, base.path())) => 0,
            Some((_, base)) => base.num_parameters(),
        }
    }

    /// Tokens that end a text of the model.
    pub(crate) fn end_tokens(&self) -> Result<Vec<u32>> {
        Ok(self.checkpoint.end_tokens(&self.tokenizer)?)
    }

    /// Whether these are adapters on the model in a directory.
    pub(crate) fn adapts(&self, dir: &Path) -> bool {
        self.adapters.as_ref().is_some_and(|(_, base)| is_same_dir(dir, base.path()))
    }

    /// The checkpoint whose weights are placed on devices: of adapters, that of their model.
    pub(crate) fn weights(&self) -> &Checkpoint {
        self.adapters.as_ref().map_or(&self.checkpoint, |(_, base)| base)
    }

    /// Loads the weights. Adapters share the weights in memory if these are what they were trained on, and where they are to be.
    pub(crate) fn load(
        &self,
        shared: Option<&SharedWeights<'_>>,
        placement: impl Into<ModelPlacement>,
        options: &OpenOptions,
    ) -> Result<TransformerLm> {
        Ok(self.lm(self.load_net(shared, &placement.into(), options)?))
    }

    fn load_net(
        &self,
        shared: Option<&SharedWeights<'_>>,
        placement: &ModelPlacement,
        options: &OpenOptions,
    ) -> Result<Transformer> {
        let Some((adapters, base)) = &self.adapters else {
            return options.load(&self.checkpoint, placement);
        };
        let in_memory = shared
            .filter(|shared| is_same_dir(shared.path, base.path()) && shared.placement.is_same(placement));
        let net = match in_memory {
            Some(shared) => shared.net.clone(),
            None => options.load(base, placement)?,
        };
        let loaded = self.checkpoint.load_adapters(net, adapters);
        loaded.map_err(|error| Error::load(self.path.display().to_string())(error.into()))
    }

    /// Loads the weights in f32 as tensors of a device with autodiff.
    pub(crate) fn load_for_training(&self, device: &Device) -> Result<Transformer> {
        let Some((adapters, base)) = &self.adapters else {
            return Ok(self.checkpoint.load(device, DType::F32)?);
        };
        let net = base.load(device, DType::F32)?;
        let loaded = self.checkpoint.load_adapters(net, adapters);
        loaded.map_err(|error| Error::load(self.path.display().to_string())(error.into()))
    }

    /// The whole network of adapters, in f32 on the CPU; `None` for a checkpoint that holds its weights itself.
    pub(crate) fn merged(&self) -> Result<Option<Transformer>> {
        if self.adapters.is_none() {
            return Ok(None);
        }
        let placement = Placement::new("cpu", Dtype::F32)?;
        Ok(Some(self.load_for_training(&placement.device)?.merged()))
    }

    /// A causal LM of weights in memory.
    pub(crate) fn lm(&self, net: Transformer) -> TransformerLm {
        TransformerLm::new(net, self.vocab.clone(), &self.path.display().to_string())
    }
}

fn is_same_dir(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok() == b.canonicalize().ok()
}

/// The last part of a model's name, without the ending of a GGUF file.
pub(crate) fn last_part(name: &str) -> &str {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    last.strip_suffix(".gguf").unwrap_or(last)
}
