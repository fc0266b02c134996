//! A model before its weights are read: a checkpoint, or adapters on one.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::Vocab;
use ivl_models::{Adapters, Checkpoint, Tokenizer, Transformer, TransformerLm};

use crate::device::Placement;
use crate::error::{Error, Result};
use crate::hub::resolve;
use crate::open_options::OpenOptions;

/// Configuration, tokenizer and vocabulary of a model; its weights are not read yet.
pub(crate) struct OpenCheckpoint {
    /// As it was named.
    pub(crate) name: String,
    /// The directory, or the GGUF file.
    pub(crate) path: PathBuf,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) vocab: Vocab,
    /// Of a directory that holds low-rank adapters: what they are, and the directory of the model that they adapt.
    adapters: Option<(Adapters, PathBuf)>,
}

/// Weights in memory, for adapters that were trained on them.
pub(crate) struct SharedWeights<'a> {
    pub(crate) path: &'a Path,
    pub(crate) net: &'a Transformer,
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
                Some((adapters, base))
            }
        };
        Ok(Self { name: name.to_owned(), path, checkpoint, tokenizer, vocab, adapters })
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
    pub(crate) fn numbers(&self, shared: Option<&Path>) -> Result<u64> {
        match &self.adapters {
            None => Ok(self.checkpoint.num_parameters()),
            Some((_, base)) if shared.is_some_and(|shared| is_same_dir(shared, base)) => Ok(0),
            Some((_, base)) => Ok(Checkpoint::open(base)?.num_parameters()),
        }
    }

    /// Tokens that end a text of the model.
    pub(crate) fn end_tokens(&self) -> Result<Vec<u32>> {
        Ok(self.checkpoint.end_tokens(&self.tokenizer)?)
    }

    /// Loads the weights. Adapters share the weights in memory if these are what they were trained on.
    pub(crate) fn load(
        &self,
        shared: Option<&SharedWeights<'_>>,
        placement: &Placement,
        options: &OpenOptions,
    ) -> Result<TransformerLm> {
        Ok(self.lm(self.load_net(shared, placement, options)?))
    }

    fn load_net(
        &self,
        shared: Option<&SharedWeights<'_>>,
        placement: &Placement,
        options: &OpenOptions,
    ) -> Result<Transformer> {
        let Some((adapters, base)) = &self.adapters else {
            return options.load(&self.checkpoint, placement);
        };
        let in_memory = shared.filter(|shared| is_same_dir(shared.path, base));
        let net = match in_memory {
            Some(shared) => shared.net.clone(),
            None => options.load(&Checkpoint::open(base)?, placement)?,
        };
        let loaded = self.checkpoint.load_adapters(net, adapters);
        loaded.map_err(|error| Error::load(self.path.display().to_string())(error.into()))
    }

    /// Loads the weights in f32 as tensors of a device with autodiff.
    pub(crate) fn load_for_training(&self, device: &Device) -> Result<Transformer> {
        let Some((adapters, base)) = &self.adapters else {
            return Ok(self.checkpoint.load(device, DType::F32)?);
        };
        let net = Checkpoint::open(base)?.load(device, DType::F32)?;
        let loaded = self.checkpoint.load_adapters(net, adapters);
        loaded.map_err(|error| Error::load(self.path.display().to_string())(error.into()))
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
