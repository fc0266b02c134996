//! The frozen bases of a run: looked at first, then loaded, or found as logits on disk.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use ivl_core::{CausalLm, Vocab, VocabMap};
use ivl_models::{BaseCard, Checkpoint, Tokenizer, Transformer, Weights};
use ivl_train::{
    BaseLogits, BaseLogitsConfig, BatchRetokenizer, CacheSettings, CachedLogits, Examples, FrozenBase,
    LogitCache, TrainConfig,
};

use crate::args::Common;
use crate::compose::load_lm;
use crate::device::dtype;
use crate::digest::{hash_weights, sha256};
use crate::hub::resolve;
use crate::other_vocabulary::map_between;
use crate::progress::bar;

/// A base as the configuration names it.
#[derive(Clone, Copy)]
pub struct NamedBase<'a> {
    pub name: &'a str,
    pub weight: f64,
    /// What leads to a value of another vocabulary.
    pub map: Option<&'a str>,
}

/// The bases to train against.
pub fn bases_of(config: &TrainConfig) -> Vec<NamedBase<'_>> {
    let one = config.base.iter().map(|name| NamedBase { name, weight: 1.0, map: None });
    let several = config.bases.iter().map(|base| NamedBase {
        name: &base.model,
        weight: base.weight,
        map: base.map.as_deref(),
    });
    one.chain(several).collect()
}

/// The bases to measure on, which training never sees.
pub fn held_out_bases_of(config: &TrainConfig) -> Vec<NamedBase<'_>> {
    let map = config.eval.map.as_deref();
    config.eval.bases.iter().map(|name| NamedBase { name, weight: 1.0, map }).collect()
}

/// A base whose configuration and tokenizer are read, its weights not yet.
pub struct OpenBase {
    pub name: String,
    pub dir: PathBuf,
    pub checkpoint: Checkpoint,
    pub tokenizer: Tokenizer,
    weight: f64,
    map: VocabMap,
    /// What it needs to write the value's texts, if it cuts them into other tokens.
    other: Option<(Vocab, Vocab)>,
}

/// The examples that a base's logits are wanted for.
pub struct Wanted<'a> {
    pub train: &'a Examples,
    pub eval: &'a Examples,
    /// Of how they were made from what.
    pub fingerprints: [String; 2],
}

impl OpenBase {
    /// Reads what is small of a base. Where its tokens are not the value's, `base.map` has to lead from one to the other.
    pub fn open(base: NamedBase<'_>, value_vocab: &Vocab) -> Result<Self> {
        let NamedBase { name, weight, map } = base;
        let dir = resolve(name)?;
        let checkpoint = Checkpoint::open(&dir)?;
        let tokenizer = checkpoint.tokenizer()?;
        let vocab = checkpoint.vocab(&tokenizer)?;
        let same = VocabMap::same_ids(&vocab, value_vocab);
        let (map, other) = match (same, map) {
            (Ok(same), _) => (same, None),
            (Err(_), Some(map)) => {
                let map =
                    map_between(map, &vocab, value_vocab).with_context(|| format!("the base `{name}`"))?;
                (map, Some((vocab, value_vocab.clone())))
            }
            (Err(error), None) => return Err(error).with_context(|| format!("the base `{name}`")),
        };
        Ok(Self { name: name.to_owned(), dir, checkpoint, tokenizer, weight, map, other })
    }

    /// Whether it reads the value's tokens.
    pub fn shares_tokens(&self) -> bool {
        self.other.is_none()
    }

    pub fn max_positions(&self) -> usize {
        self.checkpoint.config().max_positions
    }

    pub fn card(&self) -> Result<BaseCard> {
        Ok(BaseCard {
            name: self.name.clone(),
            config: sha256(&serde_json::to_vec(self.checkpoint.json())?),
            tokenizer: self.tokenizer.vocab().fingerprint().to_owned(),
        })
    }

    fn frozen(&self, source: BaseLogits) -> FrozenBase {
        let mut base = FrozenBase::new(self.name.clone(), source, self.map.clone());
        base.weight = self.weight;
        base.retokenizer = self.other.as_ref().map(|(base, value)| {
            let tokenizer = Box::new(self.tokenizer.clone());
            Rc::new(BatchRetokenizer::new(tokenizer, base, value, &self.map, self.max_positions()))
        });
        base
    }

    /// Loads the weights; also gives the network, whose tensors are handles to the same memory.
    pub fn load(
        &self,
        device: &Device,
        weights: Weights,
        common: &Common,
    ) -> Result<(FrozenBase, Transformer)> {
        let (lm, _) = load_lm(&self.checkpoint, device, weights, common)?;
        let net = lm.net().clone();
        Ok((self.frozen(BaseLogits::Lm(Rc::new(lm))), net))
    }

    /// Finds the base's logits on disk, or loads the base once to write them.
    pub fn cached(
        &self,
        config: &BaseLogitsConfig,
        wanted: &Wanted<'_>,
        device: &Device,
        common: &Common,
    ) -> Result<FrozenBase> {
        let weights = hash_weights(&self.dir)?;
        let mut lm: Option<Rc<dyn CausalLm>> = None;
        let mut find = |split: usize, examples: &Examples| -> Result<Option<Rc<LogitCache>>> {
            if examples.is_empty() {
                return Ok(None);
            }
            let parts = (
                &weights,
                self.checkpoint.json(),
                &wanted.fingerprints[split],
                config.top_k,
                format!("{:?}", dtype(common)),
            );
            let fingerprint = sha256(&serde_json::to_vec(&parts)?);
            let path = config.dir.join(format!("{}.logits", &fingerprint[..16]));
            if let Some(cache) = LogitCache::open(&path, &fingerprint, examples)? {
                return Ok(Some(Rc::new(cache)));
            }
            if lm.is_none() {
                lm = Some(Rc::new(load_lm(&self.checkpoint, device, dtype(common), common)?.0));
            }
            let Some(base) = &lm else { return Ok(None) };
            let bar =
                bar(common, examples.len() as u64, "base logits {bar:30} {pos}/{len} examples, {eta} left");
            let settings = CacheSettings { fingerprint: &fingerprint, top_k: config.top_k, batch_size: 8 };
            LogitCache::write(&path, &**base, examples, &settings, &mut |done| {
                bar.set_position(done as u64);
            })?;
            bar.finish_and_clear();
            let Some(cache) = LogitCache::open(&path, &fingerprint, examples)? else {
                bail!("`{}` was written but cannot be read back; is the disk sound?", path.display());
            };
            if !common.quiet {
                let header = cache.header();
                eprintln!(
                    "wrote logits of {} for {} tokens; what the {} kept ids leave out is {:.2e} nats a token, at most {:.2e}",
                    self.name, header.tokens, header.top_k, header.mean_kl, header.largest_kl
                );
            }
            Ok(Some(Rc::new(cache)))
        };
        let train = find(0, wanted.train)?.context("there is nothing to train on")?;
        let eval = find(1, wanted.eval)?;
        Ok(self.frozen(BaseLogits::Cached(CachedLogits { train, eval, device: device.clone() })))
    }
}
