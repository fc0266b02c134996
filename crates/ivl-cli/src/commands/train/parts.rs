//! What a run loads: models, demonstrations, and what the value's directory takes over from them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, VocabMap};
use ivl_models::{CascadeInput, ChatTemplate, Checkpoint, Tokenizer, Transformer, initialize};
use ivl_train::{BaseCard, Dataset, Encoder, Examples, FrozenBase, Init, TrainConfig};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::args::Common;
use crate::compose::load_lm;
use crate::demonstrations;
use crate::hub::resolve;

/// Everything that a run loads.
pub struct Parts {
    pub bases: Vec<FrozenBase>,
    pub value: Transformer,
    pub train: Examples,
    pub eval: Examples,
    pub held_out: Vec<FrozenBase>,
    pub json: Map<String, Value>,
    pub source: PathBuf,
    pub template: Option<ChatTemplate>,
    pub card: Option<CardParts>,
    pub data_fingerprint: String,
    pub rows: usize,
}

#[derive(Clone)]
pub struct CardParts {
    pub bases: Vec<BaseCard>,
    pub tokenizer: String,
    pub template: Option<String>,
}

impl Parts {
    pub fn load(config: &TrainConfig, device: &Device, common: &Common) -> Result<Self> {
        let data = Dataset::open(&config.data.train)?;
        let held_out_data = Dataset::open(&config.data.eval)?;
        let named = bases_of(config);
        let source = value_source(config)?;
        let (json, checkpoint) = value_checkpoint(config, &source)?;
        let mut tokenizer = checkpoint.tokenizer()?;
        let value_vocab = checkpoint.vocab(&tokenizer)?;
        let (mut checkpoints, mut nets) = (Vec::new(), Vec::new());
        let mut load = |name: &str, weight: f64| -> Result<FrozenBase> {
            let checkpoint = Checkpoint::open(&resolve(name)?)?;
            let (lm, own) = load_lm(&checkpoint, device, crate::device::dtype(common), common)?;
            let map =
                VocabMap::same_ids(lm.vocab(), &value_vocab).with_context(|| format!("the base `{name}`"))?;
            // Whoever knows the fewest tokens tokenizes: then every id is known to all.
            if own.vocab().size() < tokenizer.vocab().size() {
                tokenizer = own.clone();
            }
            checkpoints.push((checkpoint, own));
            nets.push((resolve(name)?, lm.net().clone()));
            Ok(FrozenBase { name: name.to_owned(), lm: Rc::new(lm), projection: map.on(device), weight })
        };
        let bases: Vec<FrozenBase> =
            named.iter().map(|&(name, weight)| load(name, weight)).collect::<Result<_>>()?;
        let held_out: Vec<FrozenBase> =
            config.eval.bases.iter().map(|name| load(name, 1.0)).collect::<Result<_>>()?;
        let template = template(config, checkpoints.first().map(|(checkpoint, _)| checkpoint), &checkpoint)?;
        let stride = config.value.connection.cascade_input().map_or(1, CascadeInput::stride);
        let longest = bases.iter().chain(&held_out).map(|base| base.lm.max_positions());
        let longest = longest.fold(checkpoint.config().max_positions / stride, usize::min);
        let max_length = config.data.max_length.min(longest);
        let encoder = Encoder::new(&tokenizer, template.as_ref(), max_length);
        let train = demonstrations::encode(&data, &encoder, "data.train", config, common)?;
        let eval = demonstrations::encode(&held_out_data, &encoder, "data.eval", config, common)?;
        let autodiff = device.clone().autodiff();
        // Adapters leave the weights alone: a base that the value starts from is loaded once for both.
        let shared = nets.into_iter().find(|(dir, net)| *dir == source && net.dtype() == DType::F32);
        let value = match config.value.init {
            Init::Checkpoint => match (&config.value.lora, shared) {
                (Some(lora), Some((_, net))) => net.train().with_lora(lora, config.seed),
                (Some(lora), None) => {
                    checkpoint.load(&autodiff, DType::F32, &mut |_| ())?.with_lora(lora, config.seed)
                }
                (None, _) => checkpoint.load(&autodiff, DType::F32, &mut |_| ())?,
            },
            Init::Random => {
                initialize(checkpoint.config().init(&autodiff), config.seed, config.value.init_std, &autodiff)
            }
        };
        let card = |(&(name, _), (checkpoint, own)): (&(&str, f64), &(Checkpoint, Tokenizer))| {
            Ok(BaseCard {
                name: name.to_owned(),
                config: sha256(&serde_json::to_vec(checkpoint.json())?),
                tokenizer: own.vocab().fingerprint().to_owned(),
            })
        };
        let cards: Vec<BaseCard> = named.iter().zip(&checkpoints).map(card).collect::<Result<_>>()?;
        let card = (!cards.is_empty()).then(|| CardParts {
            bases: cards,
            tokenizer: value_vocab.fingerprint().to_owned(),
            template: template.as_ref().map(|template| template.source().to_owned()),
        });
        Ok(Self {
            bases,
            value,
            rows: train.reports().iter().map(|report| report.rows).sum(),
            train,
            eval,
            held_out,
            json,
            source,
            template,
            card,
            data_fingerprint: data.fingerprint,
        })
    }

    /// Of settings, data and models: a checkpoint of another run is refused.
    pub fn fingerprint(&self, config: &TrainConfig) -> Result<String> {
        let mut settings = serde_json::to_value(config)?;
        for free in ["output", "checkpoint", "eval"] {
            settings[free] = Value::Null;
        }
        settings["data"]["cache"] = Value::Null;
        let bases = self.card.as_ref().map(|card| &card.bases);
        Ok(sha256(serde_json::to_string(&(settings, &self.data_fingerprint, bases, &self.json))?.as_bytes()))
    }
}

/// Where the value comes from: the directory that the configuration names, else the first base.
pub fn value_source(config: &TrainConfig) -> Result<PathBuf> {
    let first = || bases_of(config).first().map(|(name, _)| *name);
    let name = config.value.model.as_deref().or_else(first);
    resolve(name.context("`value.model` is not set, and there is no base to start from")?)
}

/// Names and weights of the bases to train against.
pub fn bases_of(config: &TrainConfig) -> Vec<(&str, f64)> {
    let several = config.bases.iter().map(|base| (base.model.as_str(), base.weight));
    config.base.iter().map(|base| (base.as_str(), 1.0)).chain(several).collect()
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

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
