//! What a run loads: models, demonstrations, and what the value's directory takes over from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::{DType, Device};
use ivl_models::{BaseCard, ChatTemplate, Checkpoint, Transformer, initialize};
use ivl_train::{Dataset, Examples, FrozenBase, Init, TrainConfig};
use serde_json::{Map, Value};

use super::bases::{OpenBase, Wanted, bases_of};
use super::models::OpenModels;
use super::workers::autodiff;
use crate::args::Common;
use crate::demonstrations;
use crate::device::{dtype, shared_dtype};
use crate::digest::sha256;
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
        let models = OpenModels::open(config)?;
        let encoder = models.encoder();
        let train = demonstrations::encode(&data, &encoder, "data.train", config, common)?;
        let eval = demonstrations::encode(&held_out_data, &encoder, "data.eval", config, common)?;

        let (mut bases, mut nets) = (Vec::new(), Vec::new());
        let encoding = encoder.fingerprint()?;
        let fingerprints = [&data, &held_out_data].map(|data| format!("{} {encoding}", data.fingerprint));
        let wanted = Wanted { train: &train, eval: &eval, fingerprints };
        // Adapters are trained on the tensors of a base.
        let weights = if config.value.lora.is_some() { shared_dtype(common) } else { dtype(common) };
        for base in &models.bases {
            if let Some(cache) = &config.base_logits {
                bases.push(base.cached(cache, &wanted, device, common)?);
            } else {
                let (frozen, net) = base.load(device, weights, common)?;
                bases.push(frozen);
                nets.push((base.dir.clone(), net));
            }
        }
        let held_out = models.held_out.iter().map(|base| Ok(base.load(device, dtype(common), common)?.0));
        let held_out: Vec<FrozenBase> = held_out.collect::<Result<_>>()?;
        let cards: Vec<BaseCard> = models.bases.iter().map(OpenBase::card).collect::<Result<_>>()?;
        let OpenModels { source, json, checkpoint, value_vocab, template, .. } = models;
        let autodiff = autodiff(device, config);
        // Adapters leave the weights alone: a base that the value starts from is loaded once for both.
        let recomputes = config.steps.gradient_checkpointing;
        let shared = nets.into_iter().find(|(dir, net)| {
            *dir == source && net.dtype() == DType::F32 && net.format().is_none() && !recomputes
        });
        let value = match config.value.init {
            Init::Checkpoint => match (&config.value.lora, shared) {
                (Some(lora), Some((_, net))) => net.train().with_lora(lora, config.seed),
                (Some(lora), None) => checkpoint.load(&autodiff, DType::F32)?.with_lora(lora, config.seed),
                (None, _) => checkpoint.load(&autodiff, DType::F32)?,
            },
            Init::Random => initialize(
                checkpoint.config().init(&autodiff),
                config.seed,
                config.value.init_std,
                DType::F32,
            ),
        };
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

/// The name of what the value comes from.
pub fn value_name(config: &TrainConfig) -> Option<&str> {
    let first = || bases_of(config).first().map(|base| base.name);
    config.value.model.as_deref().or_else(first)
}

/// Where the value comes from: the directory that the configuration names, else the first base.
pub fn value_source(config: &TrainConfig) -> Result<PathBuf> {
    resolve(value_name(config).context("`value.model` is not set, and there is no base to start from")?)
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
        let template = ChatTemplate::from_file(path)?;
        return Ok(Some(template.with_special_tokens(value.tokenizer()?.special_tokens())));
    }
    match value.chat_template()? {
        Some(template) => Ok(Some(template)),
        None => Ok(base.map(Checkpoint::chat_template).transpose()?.flatten()),
    }
}
