//! What a run loads: demonstrations and models.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::DType;
use ivl_models::{BaseCard, Transformer, initialize};
use ivl_train::{Dataset, Encoder, Examples, FrozenBase, Init, RunIdentity, TrainConfig};

use super::base::TrainingBase;
use super::events::{Reporter, TrainEvent};
use super::models::TrainingModels;
use super::workers::autodiff;
use crate::device::Placement;
use crate::digest::sha256;
use crate::error::Result;
use crate::open_options::OpenOptions;

/// The examples of a run, and fingerprints of how they were made from what.
pub(super) struct EncodedExamples {
    pub(super) train: Examples,
    pub(super) eval: Examples,
    /// Of `train` and of `eval`.
    pub(super) fingerprints: [String; 2],
    /// Of the training data.
    pub(super) data: String,
}

impl EncodedExamples {
    /// Tokenizes the data of a run, or finds the tokens of an earlier run.
    fn new(
        config: &TrainConfig,
        encoder: &Encoder<'_>,
        data: &[Dataset; 2],
        reporter: &Reporter<'_>,
    ) -> Result<Self> {
        let [train_data, eval_data] = data;
        let train = encode(train_data, encoder, "data.train", config, reporter)?;
        let eval = encode(eval_data, encoder, "data.eval", config, reporter)?;
        let encoding = encoder.fingerprint()?;
        let fingerprints = [train_data, eval_data].map(|data| format!("{} {encoding}", data.fingerprint));
        Ok(Self { train, eval, fingerprints, data: train_data.fingerprint.clone() })
    }

    /// Rows of the training data.
    pub(super) fn rows(&self) -> usize {
        self.train.reports().iter().map(|report| report.rows).sum()
    }
}

/// Tokenizes a dataset; no sources give no examples. `setting` names the key of the configuration.
fn encode(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    setting: &'static str,
    config: &TrainConfig,
    reporter: &Reporter<'_>,
) -> Result<Examples> {
    if dataset.sources.is_empty() {
        return Ok(Examples::default());
    }
    let examples = tokenize(dataset, encoder, setting, config, reporter)?;
    let (reports, max_length) = (examples.reports().to_vec(), encoder.max_length());
    reporter.report(TrainEvent::Tokenized { setting, reports, max_length });
    Ok(examples)
}

/// Tokenizes a dataset, or finds its tokens from an earlier run.
pub(super) fn tokenize(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    setting: &'static str,
    config: &TrainConfig,
    reporter: &Reporter<'_>,
) -> Result<Examples> {
    let cache: PathBuf = config.data.cache.clone().unwrap_or_else(|| config.output.join("tokens"));
    let mut read = 0;
    let examples = Examples::encode(dataset, encoder, setting, &cache, &mut |rows| {
        read = rows;
        reporter.report(TrainEvent::Tokenizing { rows, done: false });
    })?;
    reporter.report(TrainEvent::Tokenizing { rows: read, done: true });
    Ok(examples)
}

/// Everything that a run works on.
pub(super) struct TrainingInputs {
    pub(super) models: TrainingModels,
    pub(super) examples: EncodedExamples,
    pub(super) bases: Vec<FrozenBase>,
    pub(super) held_out: Vec<FrozenBase>,
    pub(super) value: Transformer,
    pub(super) cards: Vec<BaseCard>,
}

impl TrainingInputs {
    /// Opens everything, tokenizes the data, and only then loads weights.
    pub(super) fn load(
        config: &TrainConfig,
        placement: &Placement,
        options: &OpenOptions,
        reporter: &Reporter<'_>,
    ) -> Result<Self> {
        let data = [Dataset::open(&config.data.train)?, Dataset::open(&config.data.eval)?];
        let models = TrainingModels::open(config)?;
        let examples = EncodedExamples::new(config, &models.encoder(), &data, reporter)?;
        let cards: Vec<BaseCard> = models.bases.iter().map(TrainingBase::card).collect::<Result<_>>()?;
        // Adapters are trained on the tensors of a base.
        let frozen = if config.value.lora.is_some() { placement.for_training() } else { placement.clone() };
        let (mut bases, mut nets) = (Vec::new(), Vec::new());
        for base in &models.bases {
            if let Some(cache) = &config.base_logits {
                bases.push(base.cached(cache, &examples, placement, options, reporter)?);
            } else {
                let (base_logits, net) = base.load(&frozen, options)?;
                bases.push(base_logits);
                nets.push((base.open.dir.clone(), net));
            }
        }
        let mut held_out = Vec::with_capacity(models.held_out.len());
        for base in &models.held_out {
            held_out.push(base.load(placement, options)?.0);
        }
        let value = load_value(config, &models, nets, placement)?;
        Ok(Self { models, examples, bases, held_out, value, cards })
    }

    /// The models of the run and its template: a checkpoint of a run with others is refused. Settings and examples are added
    /// by the run.
    pub(super) fn identity(&self, config: &TrainConfig) -> Result<RunIdentity> {
        let json = serde_json::to_string(&self.models.json).expect("JSON serialises");
        let mut identity = RunIdentity::default().with("configuration of the value", sha256(json.as_bytes()));
        if let Some(template) = &self.models.template {
            identity = identity.with("chat template", sha256(template.identity().as_bytes()));
        }
        if config.value.init == Init::Checkpoint {
            identity = identity.with_weights("weights of the value", &self.models.source.dir)?;
        }
        for (base, card) in self.models.bases.iter().zip(&self.cards) {
            let named = |part: &str| format!("{part} of the base {}", card.name);
            identity = identity
                .with(named("configuration"), &card.config)
                .with(named("tokenizer"), &card.tokenizer)
                .with_weights(named("weights"), &base.open.dir)?;
        }
        Ok(identity)
    }
}

/// The network that is trained, on a device with autodiff. Adapters leave the weights alone: a base that the value starts from
/// is loaded once for both.
fn load_value(
    config: &TrainConfig,
    models: &TrainingModels,
    nets: Vec<(PathBuf, Transformer)>,
    placement: &Placement,
) -> Result<Transformer> {
    let device = autodiff(&placement.device, config);
    let checkpoint = &models.checkpoint;
    if config.value.init == Init::Random {
        let net = checkpoint.config().init(&device);
        return Ok(initialize(net, config.seed, config.value.init_std, DType::F32));
    }
    let Some(lora) = &config.value.lora else {
        return Ok(checkpoint.load(&device, DType::F32)?);
    };
    let recomputes = config.steps.gradient_checkpointing;
    let shared = nets.into_iter().find(|(dir, net)| {
        *dir == models.source.dir && net.dtype() == DType::F32 && net.format().is_none() && !recomputes
    });
    let net = match shared {
        Some((_, net)) => net.train(),
        None => checkpoint.load(&device, DType::F32)?,
    };
    Ok(net.with_lora(lora, config.seed))
}
