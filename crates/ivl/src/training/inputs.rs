//! The inputs of a run: demonstrations and models.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::DType;
use ivl_models::{BaseCard, Transformer, ValueCard, initialize};
use ivl_train::{FrozenBase, Init, RunIdentity, Teacher, TrainConfig, ValueConfig};

use super::base::TrainingBase;
use super::encoded_examples::{EncodedExamples, open_data};
use super::events::Reporter;
use super::models::TrainingModels;
use super::teacher::TrainingTeacher;
use super::workers::autodiff;
use crate::device::Placement;
use crate::digest::sha256;
use crate::error::Result;
use crate::open_options::OpenOptions;

/// Everything that a run works on.
pub(super) struct TrainingInputs {
    pub(super) models: TrainingModels,
    pub(super) examples: EncodedExamples,
    pub(super) bases: Vec<FrozenBase>,
    pub(super) held_out: Vec<FrozenBase>,
    pub(super) teacher: Option<Teacher>,
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
        let data = [open_data(config, &config.data.train)?, open_data(config, &config.data.eval)?];
        let models = TrainingModels::open(config)?;
        let examples = EncodedExamples::new(config, &models.encoder(), &data, reporter)?;
        let cards: Vec<BaseCard> = models.bases.iter().map(TrainingBase::card).collect();
        // First, since a teacher that only writes its predictions is gone before the others are loaded.
        let load = |teacher: &TrainingTeacher| {
            teacher.load(config, models.shared_ids(), &examples, placement, options, reporter)
        };
        let teacher = models.teacher.as_ref().map(load).transpose()?;
        // Adapters are trained on the tensors of a base.
        let frozen = if config.value.lora.is_some() { placement.for_training() } else { placement.clone() };
        let (mut bases, mut nets) = (Vec::new(), Vec::new());
        for base in &models.bases {
            if let Some(cache) = &config.base_logits {
                bases.push(base.cached(cache, &examples, placement, options, reporter)?);
            } else {
                let (base_logits, net) = base.load(&frozen, options)?;
                bases.push(base_logits);
                nets.push((base.open.path.clone(), net));
            }
        }
        let mut held_out = Vec::with_capacity(models.held_out.len());
        for base in &models.held_out {
            held_out.push(base.load(placement, options)?.0);
        }
        let value = load_value(config, &models, nets, placement)?;
        Ok(Self { models, examples, bases, held_out, teacher, value, cards })
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
            identity = identity.with_weights("weights of the value", &self.models.source.path)?;
        }
        for (base, card) in self.models.bases.iter().zip(&self.cards) {
            let named = |part: &str| format!("{part} of the base {}", card.name);
            identity = identity
                .with(named("configuration"), &card.config)
                .with(named("tokenizer"), &card.tokenizer)
                .with_weights(named("weights"), &base.open.path)?;
        }
        match &self.models.teacher {
            Some(teacher) => teacher.identify(identity),
            None => Ok(identity),
        }
    }
}

/// The network that is trained, on a device with autodiff, as large as the run begins with it.
pub(super) fn load_value(
    config: &TrainConfig,
    models: &TrainingModels,
    nets: Vec<(PathBuf, Transformer)>,
    placement: &Placement,
) -> Result<Transformer> {
    let net = load_network(config, models, nets, placement)?;
    Ok(net.with_scaled_norm(initial_scale(config, models)?))
}

/// The factor on the last norm that the value starts with.
pub(super) fn initial_scale(config: &TrainConfig, models: &TrainingModels) -> Result<f64> {
    if let Some(scale) = config.value.initial_scale {
        return Ok(scale);
    }
    let is_copy = config.value.init == Init::Checkpoint && !models.bases.is_empty();
    // A directory with a card is a value already.
    let is_fresh = is_copy && ValueCard::read(&models.source.path)?.is_none();
    Ok(if is_fresh { ValueConfig::FRESH_SCALE } else { 1.0 })
}

/// The network that is trained, as it is stored. Adapters do not change the weights: a base that the value starts from
/// is loaded once for both.
fn load_network(
    config: &TrainConfig,
    models: &TrainingModels,
    nets: Vec<(PathBuf, Transformer)>,
    placement: &Placement,
) -> Result<Transformer> {
    let device = autodiff(&placement.device, config);
    if config.value.init == Init::Random {
        let net = models.checkpoint.config().init(&device);
        return Ok(initialize(net, config.seed, config.value.init_std, DType::F32));
    }
    let source = &models.source;
    let Some(lora) = &config.value.lora else {
        return Ok(source.load_for_training(&device)?.merged());
    };
    if source.adapters().is_some() {
        // The run continues these adapters.
        return source.load_for_training(&device);
    }
    let recomputes = config.steps.gradient_checkpointing;
    let shared = nets.into_iter().find(|(path, net)| {
        *path == source.path && net.dtype() == DType::F32 && !net.is_packed() && !recomputes
    });
    let net = match shared {
        Some((_, net)) => net.train(),
        None => source.load_for_training(&device)?,
    };
    Ok(net.with_lora(lora, config.seed))
}
