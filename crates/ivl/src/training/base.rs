//! The frozen bases of a run: opened first, then loaded, or found as logits on disk.

use std::path::PathBuf;
use std::rc::Rc;

use ivl_core::{CausalLm, VocabMap};
use ivl_models::{BaseCard, Transformer};
use ivl_train::{BaseLogits, BaseLogitsConfig, BatchRetokenizer, FrozenBase, LogitCacheHeader, TrainConfig};

use super::encoded_examples::EncodedExamples;
use super::events::{Reporter, TrainEvent};
use super::logit_writer::{LogitWriter, logits_path};
use crate::device::Placement;
use crate::digest::{hash_weights, sha256};
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;
use crate::open_options::OpenOptions;
use crate::vocab_maps::VocabMaps;
use ivl_core::Vocab;

/// A base as the configuration names it.
#[derive(Clone, Copy)]
pub(super) struct NamedBase<'a> {
    pub(super) name: &'a str,
    weight: f64,
    /// The source of the map to a value with another vocabulary.
    map: Option<&'a str>,
}

/// The bases to train against.
pub(super) fn bases_of(config: &TrainConfig) -> Vec<NamedBase<'_>> {
    let one = config.base.iter().map(|name| NamedBase { name, weight: 1.0, map: None });
    let several = config.bases.iter().map(|base| NamedBase {
        name: &base.model,
        weight: base.weight,
        map: base.map.as_deref(),
    });
    one.chain(several).collect()
}

/// The bases to evaluate on, which training never sees.
pub(super) fn held_out_bases_of(config: &TrainConfig) -> Vec<NamedBase<'_>> {
    let map = config.eval.map.as_deref();
    config.eval.bases.iter().map(|name| NamedBase { name, weight: 1.0, map }).collect()
}

/// A base whose configuration and tokenizer are read, its weights not yet.
pub(super) struct TrainingBase {
    pub(super) open: OpenCheckpoint,
    weight: f64,
    map: VocabMap,
    /// The value's vocabulary, if the base reads texts in other tokens.
    value_vocab: Option<Vocab>,
}

impl TrainingBase {
    /// Opens a base. Where its tokens are not the value's, `base.map` has to lead from one to the other.
    pub(super) fn open(base: NamedBase<'_>, value_vocab: &Vocab) -> Result<Self> {
        let open = OpenCheckpoint::open(base.name)?;
        let in_base = Error::base(base.name);
        let refusal = match VocabMap::same_ids(&open.vocab, value_vocab) {
            Ok(map) => return Ok(Self { open, weight: base.weight, map, value_vocab: None }),
            Err(refusal) => refusal,
        };
        let sources: Vec<String> = base.map.iter().map(ToString::to_string).collect();
        let map = VocabMaps::read(&sources).and_then(|maps| maps.between(&open.vocab, value_vocab));
        match map {
            Ok(Some(map)) => {
                Ok(Self { open, weight: base.weight, map, value_vocab: Some(value_vocab.clone()) })
            }
            Ok(None) => Err(in_base(refusal.into())),
            Err(error) => Err(in_base(error)),
        }
    }

    /// Whether it reads the value's tokens.
    pub(super) fn shares_tokens(&self) -> bool {
        self.value_vocab.is_none()
    }

    pub(super) fn card(&self) -> BaseCard {
        self.open.base_card()
    }

    fn frozen(&self, source: BaseLogits) -> FrozenBase {
        let mut base = FrozenBase::new(self.open.name.clone(), source, self.map.clone());
        base.weight = self.weight;
        base.retokenizer = self.value_vocab.as_ref().map(|value| {
            let tokenizer = Box::new(self.open.tokenizer.clone());
            let limit = self.open.max_positions();
            Rc::new(BatchRetokenizer::new(tokenizer, &self.open.vocab, value, &self.map, limit))
        });
        base
    }

    /// Loads the weights; also gives the network, whose tensors are handles to the same memory.
    pub(super) fn load(
        &self,
        placement: &Placement,
        options: &OpenOptions,
    ) -> Result<(FrozenBase, Transformer)> {
        let lm = self.open.load(None, placement, options)?;
        let net = lm.net().clone();
        Ok((self.frozen(BaseLogits::Lm(Rc::new(lm))), net))
    }

    /// Digest of its weights.
    pub(super) fn weights_digest(&self) -> Result<String> {
        hash_weights(&self.open.path)
    }

    /// Finds the base's logits on disk, or loads the base once to write them.
    pub(super) fn cached(
        &self,
        config: &BaseLogitsConfig,
        examples: &EncodedExamples,
        placement: &Placement,
        options: &OpenOptions,
        reporter: &Reporter<'_>,
    ) -> Result<FrozenBase> {
        let weights = self.weights_digest()?;
        let writer = LogitWriter {
            file: Box::new(|examples| logits_file(self, config, &weights, examples, placement)),
            top_k: config.top_k,
            temperature: 1.0,
            vocab: usize::MAX,
            batch_size: 8,
            load: Box::new(|| {
                let lm: Rc<dyn CausalLm> = Rc::new(self.open.load(None, placement, options)?);
                Ok(lm)
            }),
            lm: None,
            reporter,
        };
        let written = |header: &LogitCacheHeader| TrainEvent::BaseLogitsWritten {
            base: self.open.name.clone(),
            tokens: header.tokens,
            top_k: header.top_k,
            mean_kl: header.mean_kl,
            largest_kl: header.largest_kl,
        };
        Ok(self.frozen(BaseLogits::Cached(writer.find(examples, &placement.device, written)?)))
    }
}

/// The file of a base's logits for some examples, and the fingerprint in its header: of the base and its `weights`, of the
/// `examples`, and of the settings.
pub(super) fn logits_file(
    base: &TrainingBase,
    config: &BaseLogitsConfig,
    weights: &str,
    examples: &str,
    placement: &Placement,
) -> (PathBuf, String) {
    let depends_on =
        (weights, base.open.checkpoint.json(), examples, config.top_k, format!("{:?}", placement.weights));
    let fingerprint = sha256(&serde_json::to_vec(&depends_on).expect("strings and numbers serialise"));
    (logits_path(&config.dir, &fingerprint), fingerprint)
}
