//! The logits of a frozen model on disk: found, or written by running the model once.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Device;
use ivl_core::CausalLm;
use ivl_train::{CacheSettings, CachedLogits, Examples, LogitCache, LogitCacheHeader};

use super::encoded_examples::EncodedExamples;
use super::events::{Reporter, TrainEvent};
use crate::error::{Error, Result};

/// Loads a model.
type LoadLm<'a> = Box<dyn Fn() -> Result<Rc<dyn CausalLm>> + 'a>;

/// From a fingerprint of examples to a file and the fingerprint in its header.
type FileOf<'a> = Box<dyn Fn(&str) -> (PathBuf, String) + 'a>;

/// The file in a directory of logits whose header has a fingerprint.
pub(super) fn logits_path(dir: &Path, fingerprint: &str) -> PathBuf {
    dir.join(format!("{}.logits", &fingerprint[..16]))
}

/// Finds or writes the logits of one model.
pub(super) struct LogitWriter<'a, 'r> {
    /// The file of examples of a fingerprint, and the fingerprint in its header: of all that decides the logits.
    pub(super) file: FileOf<'a>,
    /// Ids in a record; 0 for all.
    pub(super) top_k: usize,
    /// Divides the logits.
    pub(super) temperature: f64,
    /// The number of ids, from 0 on, that are kept.
    pub(super) vocab: usize,
    /// Examples in a forward pass.
    pub(super) batch_size: usize,
    /// Loads the model, if it has to run.
    pub(super) load: LoadLm<'a>,
    /// The model, once it was loaded.
    pub(super) lm: Option<Rc<dyn CausalLm>>,
    pub(super) reporter: &'a Reporter<'r>,
}

impl LogitWriter<'_, '_> {
    /// The logits for the examples of a run, for use on `device`. `written` makes the event of a new file.
    pub(super) fn find(
        mut self,
        examples: &EncodedExamples,
        device: &Device,
        written: impl Fn(&LogitCacheHeader) -> TrainEvent,
    ) -> Result<CachedLogits> {
        let [of_train, of_eval] = &examples.fingerprints;
        let train = self.find_split(&examples.train, of_train, &written)?;
        let train = train.expect("a run without examples was refused");
        let eval = self.find_split(&examples.eval, of_eval, &written)?;
        Ok(CachedLogits { train, eval, device: device.clone() })
    }

    /// The logits for some examples, made with the settings of `fingerprint`; `None` for no examples.
    fn find_split(
        &mut self,
        examples: &Examples,
        fingerprint: &str,
        written: &impl Fn(&LogitCacheHeader) -> TrainEvent,
    ) -> Result<Option<Rc<LogitCache>>> {
        if examples.is_empty() {
            return Ok(None);
        }
        let (path, fingerprint) = (self.file)(fingerprint);
        if let Some(cache) = LogitCache::open(&path, &fingerprint, examples)? {
            return Ok(Some(Rc::new(cache)));
        }
        let lm = match &self.lm {
            Some(lm) => lm.clone(),
            None => self.lm.insert((self.load)()?).clone(),
        };
        let mut settings = CacheSettings::new(&fingerprint, self.top_k);
        (settings.temperature, settings.vocab) = (self.temperature, self.vocab);
        settings.batch_size = self.batch_size;
        let total = examples.len();
        LogitCache::write(&path, &*lm, examples, &settings, &mut |done| {
            self.reporter.report(TrainEvent::BaseLogits { done, total });
        })?;
        let Some(cache) = LogitCache::open(&path, &fingerprint, examples)? else {
            let reason = "was written but cannot be read back; is the disk sound?".to_owned();
            return Err(Error::Content { path, reason });
        };
        self.reporter.report(written(cache.header()));
        Ok(Some(Rc::new(cache)))
    }
}
