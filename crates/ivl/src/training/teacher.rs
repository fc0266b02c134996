//! The teacher of a distilled value: opened first, then loaded, or found as predictions on disk.

use std::path::PathBuf;
use std::rc::Rc;

use ivl_core::{CausalLm, Vocab, VocabMap};
use ivl_models::{ChatTemplate, TeacherCard, TemplateChoice, ValueCard};
use ivl_train::{BaseLogits, DistillConfig, RunIdentity, Teacher, TrainConfig};

use super::encoded_examples::EncodedExamples;
use super::events::{Reporter, TrainEvent};
use super::logit_writer::{LogitWriter, logits_path};
use crate::device::Placement;
use crate::digest::{hash_weights, sha256};
use crate::error::{Error, Result};
use crate::model::{Attach, Model, PlannedValue};
use crate::open_checkpoint::OpenCheckpoint;
use crate::open_options::OpenOptions;

/// A teacher whose configuration and tokenizer are read, its weights not yet.
pub(super) struct TrainingTeacher {
    pub(super) open: OpenCheckpoint,
    values: Vec<TeacherValue>,
    /// Examples in a forward pass.
    batch_size: usize,
    config: DistillConfig,
}

/// A value of the teacher.
struct TeacherValue {
    name: String,
    dir: PathBuf,
    attach: Attach,
}

/// Examples in a forward pass of the teacher.
const BATCH_SIZE: usize = 8;

impl TrainingTeacher {
    /// Opens the teacher of a configuration. Its ids have to mean the same tokens as the value's.
    pub(super) fn open(config: &TrainConfig, value_vocab: &Vocab) -> Result<Option<Self>> {
        let Some(distill) = &config.distill else { return Ok(None) };
        let in_setting =
            |key: &'static str| move |error: Error| Error::Setting { key, source: Box::new(error) };
        let in_teacher = in_setting("distill.teacher");
        let open = OpenCheckpoint::open(&distill.teacher).map_err(&in_teacher)?;
        VocabMap::same_ids(&open.vocab, value_vocab).map_err(|error| in_teacher(error.into()))?;
        let (mut values, mut reads_alone) = (Vec::new(), false);
        for value in &distill.values {
            let planned = TeacherValue::open(value, &open).map_err(in_setting("distill.values"))?;
            reads_alone |= planned.1;
            values.push(planned.0);
        }
        if reads_alone && !distill.cache {
            let reason = "`distill.values` has a value of another vocabulary, which reads one text at a time; set \
                          `distill.cache` to true";
            return Err(Error::Settings { reason: reason.to_owned() });
        }
        let batch_size = if reads_alone { 1 } else { BATCH_SIZE };
        Ok(Some(Self { open, values, batch_size, config: distill.clone() }))
    }

    /// Its chat template: that of the first of its values that has one, else its own.
    pub(super) fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        let dirs: Vec<_> = self.values.iter().map(|value| value.dir.as_path()).collect();
        match TemplateChoice::default().find(&self.open.path, &dirs) {
            Ok(template) => Ok(Some(template)),
            Err(ivl_models::ChatError::NoTemplate { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the card of the value says of it.
    pub(super) fn card(&self) -> TeacherCard {
        TeacherCard {
            name: self.open.name.clone(),
            values: self.values.iter().map(|value| (value.name.clone(), value.alpha())).collect(),
            temperature: self.config.temperature,
            cross_entropy: self.config.cross_entropy,
        }
    }

    /// Adds the teacher to the identity of a run.
    pub(super) fn identify(&self, identity: RunIdentity) -> Result<RunIdentity> {
        let json = serde_json::to_vec(self.open.checkpoint.json()).expect("JSON serialises");
        let mut identity = identity
            .with("configuration of the teacher", sha256(&json))
            .with("tokenizer of the teacher", self.open.tokenizer.vocab().fingerprint())
            .with_weights("weights of the teacher", &self.open.path)?;
        for (index, value) in self.values.iter().enumerate() {
            identity = identity
                .with(format!("alpha of the teacher's value {index}"), value.alpha().to_string())
                .with_weights(format!("weights of the teacher's value {index}"), &value.dir)?;
        }
        Ok(identity)
    }

    /// The teacher, in memory or on disk, for models that share the first `vocab` ids.
    pub(super) fn load(
        &self,
        config: &TrainConfig,
        vocab: usize,
        examples: &EncodedExamples,
        placement: &Placement,
        options: &OpenOptions,
        reporter: &Reporter<'_>,
    ) -> Result<Teacher> {
        let temperature = self.config.temperature;
        let name = self.open.name.clone();
        // A list of devices is for the micro-batches of the value.
        let options = &options.clone().device(placement.name());
        if !self.config.cache {
            return Ok(Teacher::new(name, BaseLogits::Lm(self.lm(options)?), temperature, vocab));
        }
        let dir = self.config.dir.clone().unwrap_or_else(|| config.output.join("teacher"));
        let identity = self.logit_identity(placement)?;
        let top_k = self.config.top_k;
        let file = |examples: &str| {
            let depends_on = format!("{examples} {top_k} {temperature} {vocab} {identity}");
            let fingerprint = sha256(depends_on.as_bytes());
            (logits_path(&dir, &fingerprint), fingerprint)
        };
        let writer = LogitWriter {
            file: Box::new(file),
            top_k,
            temperature,
            vocab,
            batch_size: self.batch_size,
            load: Box::new(|| self.lm(options)),
            lm: None,
            reporter,
        };
        let written = |header: &ivl_train::LogitCacheHeader| TrainEvent::TeacherLogitsWritten {
            teacher: name.clone(),
            tokens: header.tokens,
            top_k: header.top_k,
            mean_rest: header.mean_rest,
        };
        let cached = writer.find(examples, &placement.device, written)?;
        Ok(Teacher::new(name, BaseLogits::Cached(cached), temperature, vocab))
    }

    /// Loads the weights.
    fn lm(&self, options: &OpenOptions) -> Result<Rc<dyn CausalLm>> {
        let mut model = Model::builder(&self.open.name).options(options.clone());
        for value in &self.values {
            model = model.attach(&value.name, value.attach.clone());
        }
        Ok(Rc::new(model.open()?.into_ungated_lm()?))
    }

    /// All that decides the logits besides the text.
    fn logit_identity(&self, placement: &Placement) -> Result<String> {
        let mut parts = vec![
            hash_weights(&self.open.path)?,
            serde_json::to_string(self.open.checkpoint.json()).expect("JSON serialises"),
            format!("{:?}", placement.weights),
        ];
        for value in &self.values {
            parts.push(hash_weights(&value.dir)?);
            parts.push(format!("{} {:?}", value.alpha(), value.attach.maps));
            parts.extend(value.attach.gate.map(|gate| format!("{gate:?}")));
        }
        Ok(parts.join("\n"))
    }
}

impl TeacherValue {
    /// Opens a value of the teacher; also tells whether it reads texts in its own tokens.
    fn open(config: &ivl_train::TeacherValueConfig, teacher: &OpenCheckpoint) -> Result<(Self, bool)> {
        let mut attach = Attach::new();
        attach.maps.extend(config.map.clone());
        let open = OpenCheckpoint::open(&config.model)?;
        let card = ValueCard::read(&open.path)?;
        attach.gate = card.as_ref().map(|card| card.learned_gate(&open.path)).transpose()?.flatten();
        attach.alpha = config.alpha.or(card.map(|card| card.alpha)).or(Some(1.0));
        PlannedValue::new(&config.model, &attach, &teacher.vocab)?;
        let reads_alone = VocabMap::same_ids(&teacher.vocab, &open.vocab).is_err();
        Ok((Self { name: config.model.clone(), dir: open.path, attach }, reads_alone))
    }

    fn alpha(&self) -> f64 {
        self.attach.alpha.unwrap_or(1.0)
    }
}
