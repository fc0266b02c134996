//! The frozen bases of a run: looked at first, then loaded, or found as logits on disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use ivl_core::{CausalLm, Vocab, VocabMap};
use ivl_models::{Checkpoint, Tokenizer, Transformer};
use ivl_train::{
    BaseCard, BaseLogits, BaseLogitsConfig, CacheSettings, Examples, FrozenBase, LogitCache, TrainConfig,
};
use sha2::{Digest, Sha256};

use super::parts::sha256;
use crate::args::Common;
use crate::compose::load_lm;
use crate::device::dtype;
use crate::hub::resolve;
use crate::progress::bar;

/// Names and weights of the bases to train against.
pub fn bases_of(config: &TrainConfig) -> Vec<(&str, f64)> {
    let several = config.bases.iter().map(|base| (base.model.as_str(), base.weight));
    config.base.iter().map(|base| (base.as_str(), 1.0)).chain(several).collect()
}

/// A base whose configuration and tokenizer are read, its weights not yet.
pub struct OpenBase {
    pub name: String,
    pub dir: PathBuf,
    pub checkpoint: Checkpoint,
    pub tokenizer: Tokenizer,
    weight: f64,
    map: VocabMap,
}

/// The examples that a base's logits are wanted for.
pub struct Wanted<'a> {
    pub train: &'a Examples,
    pub eval: &'a Examples,
    /// Of how they were made from what.
    pub fingerprints: [String; 2],
}

impl OpenBase {
    pub fn open(name: &str, weight: f64, value_vocab: &Vocab) -> Result<Self> {
        let dir = resolve(name)?;
        let checkpoint = Checkpoint::open(&dir)?;
        let tokenizer = checkpoint.tokenizer()?;
        let vocab = checkpoint.vocab(&tokenizer)?;
        let map = VocabMap::same_ids(&vocab, value_vocab).with_context(|| format!("the base `{name}`"))?;
        Ok(Self { name: name.to_owned(), dir, checkpoint, tokenizer, weight, map })
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

    fn frozen(&self, source: BaseLogits, device: &Device) -> FrozenBase {
        FrozenBase { name: self.name.clone(), source, projection: self.map.on(device), weight: self.weight }
    }

    /// Loads the weights; also gives the network, whose tensors are handles to the same memory.
    pub fn load(&self, device: &Device, common: &Common) -> Result<(FrozenBase, Transformer)> {
        let (lm, _) = load_lm(&self.checkpoint, device, dtype(common), common)?;
        let net = lm.net().clone();
        Ok((self.frozen(BaseLogits::Lm(Rc::new(lm)), device), net))
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
        Ok(self.frozen(BaseLogits::Cached { train, eval, device: device.clone() }, device))
    }
}

/// SHA-256 over the bytes of all weight files, in the order of their names.
fn hash_weights(dir: &Path) -> Result<String> {
    let context = || format!("cannot read `{}`", dir.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(context)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .with_context(context)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    for path in files {
        let context = || format!("cannot read `{}`", path.display());
        let mut file = File::open(&path).with_context(context)?;
        loop {
            match file.read(&mut piece).with_context(context)? {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}
