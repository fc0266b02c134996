//! What a run loads: models, demonstrations, and what the value's directory takes over from them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, VocabMap};
use ivl_models::{ChatTemplate, Checkpoint, Tokenizer, Transformer, TransformerLm, initialize};
use ivl_train::{BaseCard, Dataset, Encoder, HeldOut, Init, TrainConfig};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::args::Common;
use crate::compose::load_lm;
use crate::hub::resolve;

/// Everything that a run loads.
pub struct Parts {
    pub base: Option<Rc<dyn CausalLm>>,
    pub value: Transformer,
    pub map: Option<VocabMap>,
    pub train: Vec<ivl_train::Example>,
    pub eval: Vec<ivl_train::Example>,
    pub held_out: Vec<HeldOut>,
    pub json: Map<String, Value>,
    pub source: PathBuf,
    pub template: Option<ChatTemplate>,
    pub card: Option<CardParts>,
    pub data_fingerprint: String,
    pub rows: usize,
}

#[derive(Clone)]
pub struct CardParts {
    pub base: BaseCard,
    pub tokenizer: String,
    pub template: Option<String>,
}

impl Parts {
    pub fn load(config: &TrainConfig, device: &Device, common: &Common) -> Result<Self> {
        let data = Dataset::read(&config.data.train)?;
        let held_out_data = Dataset::read(&config.data.eval)?;
        let source = resolve(&config.value.model)?;
        let (json, checkpoint) = value_checkpoint(config, &source)?;
        let value_tokenizer = checkpoint.tokenizer()?;
        let value_vocab = checkpoint.vocab(&value_tokenizer)?;
        let frozen = |name: &str| -> Result<(TransformerLm, Tokenizer, Checkpoint)> {
            let checkpoint = Checkpoint::open(&resolve(name)?)?;
            let (lm, tokenizer) = load_lm(&checkpoint, device, crate::device::dtype(common), common)?;
            Ok((lm, tokenizer, checkpoint))
        };
        let base = config.base.as_deref().map(frozen).transpose()?;
        let map = match &base {
            Some((base, ..)) => Some(VocabMap::same_ids(base.vocab(), &value_vocab)?),
            None => None,
        };
        let mut held_out = Vec::new();
        for name in &config.eval.bases {
            let (lm, ..) = frozen(name)?;
            let projection = VocabMap::same_ids(lm.vocab(), &value_vocab)
                .with_context(|| format!("`{name}` in eval.bases"))?
                .on(device);
            held_out.push(HeldOut { name: name.clone(), lm: Rc::new(lm), projection });
        }
        let template = template(config, base.as_ref().map(|(.., checkpoint)| checkpoint), &checkpoint)?;
        let tokenizer = base.as_ref().map_or(&value_tokenizer, |(_, tokenizer, _)| tokenizer);
        let longest = base.as_ref().map_or(usize::MAX, |(lm, ..)| lm.max_positions());
        let longest = longest.min(checkpoint.config().max_positions);
        let max_length = config.data.max_length.min(longest);
        let encoder = Encoder { tokenizer, template: template.as_ref(), max_length };
        let train = encoder.encode_all(&data.rows, "data.train")?;
        note_losses("data.train", &train, max_length, common);
        let eval = match held_out_data.rows.is_empty() {
            true => ivl_train::Examples::default(),
            false => encoder.encode_all(&held_out_data.rows, "data.eval")?,
        };
        note_losses("data.eval", &eval, max_length, common);
        let autodiff = device.clone().autodiff();
        let value = match config.value.init {
            Init::Checkpoint => checkpoint.load(&autodiff, DType::F32, &mut |_| ())?,
            Init::Random => {
                initialize(checkpoint.config().init(&autodiff), config.seed, config.value.init_std, &autodiff)
            }
        };
        let card = match (&config.base, &base) {
            (Some(name), Some((_, tokenizer, base))) => Some(CardParts {
                base: BaseCard {
                    name: name.clone(),
                    config: sha256(&serde_json::to_vec(base.json())?),
                    tokenizer: tokenizer.vocab().fingerprint().to_owned(),
                },
                tokenizer: value_vocab.fingerprint().to_owned(),
                template: template.as_ref().map(|template| template.source().to_owned()),
            }),
            _ => None,
        };
        Ok(Self {
            base: base.map(|(lm, ..)| Rc::new(lm) as Rc<dyn CausalLm>),
            value,
            map,
            train: train.examples,
            eval: eval.examples,
            held_out,
            json,
            source,
            template,
            card,
            data_fingerprint: data.fingerprint,
            rows: data.rows.len(),
        })
    }

    /// Of settings, data and models: a checkpoint of another run is refused.
    pub fn fingerprint(&self, config: &TrainConfig) -> Result<String> {
        let mut settings = serde_json::to_value(config)?;
        for free in ["output", "checkpoint", "eval"] {
            settings[free] = Value::Null;
        }
        let base = self.card.as_ref().map(|card| (&card.base.config, &card.base.tokenizer));
        Ok(sha256(serde_json::to_string(&(settings, &self.data_fingerprint, base, &self.json))?.as_bytes()))
    }
}

/// The configuration of the value: that of its checkpoint, with overrides for a random start.
pub fn value_checkpoint(config: &TrainConfig, source: &Path) -> Result<(Map<String, Value>, Checkpoint)> {
    let checkpoint = Checkpoint::open(source)?;
    let mut json = checkpoint.json().clone();
    if config.value.overrides.is_empty() {
        return Ok((json, checkpoint));
    }
    json.extend(config.value.overrides.clone());
    let checkpoint = checkpoint.with_config(json.clone()).context("in value.overrides")?;
    Ok((json, checkpoint))
}

pub fn template(
    config: &TrainConfig,
    base: Option<&Checkpoint>,
    value: &Checkpoint,
) -> Result<Option<ChatTemplate>> {
    if let Some(path) = &config.data.chat_template {
        return Ok(Some(ChatTemplate::from_file(path)?));
    }
    match value.chat_template()? {
        Some(template) => Ok(Some(template)),
        None => Ok(base.map(Checkpoint::chat_template).transpose()?.flatten()),
    }
}

fn note_losses(what: &str, examples: &ivl_train::Examples, max_length: usize, common: &Common) {
    if !common.quiet && examples.truncated + examples.dropped > 0 {
        eprintln!(
            "{what}: {} rows were cut to {max_length} tokens, {} of them lost all that is learnt and were left out",
            examples.truncated, examples.dropped
        );
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
