//! A value on a base: how the two are joined, before and after the value's weights are read.

use std::fmt;
use std::path::Path;

use ivl_align::{Method, align};
use ivl_core::cross_tokenizer::ByteFusionConfig;
use ivl_core::fusion::LearnedGate;
use ivl_core::{CausalLm, Vocab, VocabMap};
use ivl_models::{CascadeInput, ChatTemplate, Checkpoint, Connection, Tokenizer, TransformerLm, ValueCard};

use super::Attach;
use super::text_reader::ValueReader;
use crate::error::{Error, Result};
use crate::open_checkpoint::{OpenCheckpoint, SharedWeights, last_part};
use crate::open_options::OpenOptions;
use crate::placement::ModelPlacement;
use crate::vocab_maps::VocabMaps;

/// How a value is joined to its base; `M` is the reference model of byte fusion.
pub(crate) enum Join<M> {
    /// It reads the base's predictions.
    Cascade(CascadeInput),
    /// Equal ids mean equal tokens.
    SameIds,
    /// It reads texts in its own tokens, and its logits are mapped.
    Mapped(VocabMap),
    /// It reads texts in its own tokens, and is fused over bytes.
    OverBytes { map: VocabMap, reference: M, config: ByteFusionConfig },
}

impl<M> Join<M> {
    /// The place in the order in which values are fused: cascade values read the base's own predictions, so they come
    /// first; over bytes a value is fused with all that comes before it.
    fn order(&self) -> usize {
        match self {
            Self::Cascade(_) => 0,
            Self::SameIds => 1,
            Self::Mapped(_) => 2,
            Self::OverBytes { .. } => 3,
        }
    }
}

impl<M> Join<M> {
    /// Why a gate cannot skip a value that is joined like this, if it cannot.
    fn ungatable(&self, name: &str) -> Option<String> {
        match self {
            Self::Cascade(_) => {
                Some(format!("`{name}` is a cascade value, which reads the base's prediction at every token"))
            }
            Self::OverBytes { .. } => Some(format!("`{name}` is fused over bytes")),
            Self::SameIds | Self::Mapped(_) => None,
        }
    }
}

impl<M> Join<M> {
    /// Refuses a learned gate where there are no logits of a value that it could multiply.
    fn check_learned_gate(&self, name: &str) -> Result<()> {
        let reason = match self {
            Self::Cascade(_) => "it is a cascade value, expected one that reads only the text",
            Self::OverBytes { .. } => {
                "it is fused over bytes, which adds no logits of the value; expected a value of the base's vocabulary or with a map"
            }
            Self::SameIds | Self::Mapped(_) => return Ok(()),
        };
        Err(Error::LearnedGate { value: name.to_owned(), reason })
    }
}

impl<M> Join<M> {
    /// How a value that is joined like this reads texts.
    fn reader<'a>(&self, path: &'a Path, tokenizer: &'a Tokenizer, max_positions: usize) -> ValueReader<'a> {
        match self {
            Self::Cascade(input) => {
                ValueReader { path, own_tokens: None, max_positions: max_positions / input.stride() }
            }
            Self::SameIds => ValueReader { path, own_tokens: None, max_positions },
            Self::Mapped(_) | Self::OverBytes { .. } => {
                ValueReader { path, own_tokens: Some(tokenizer), max_positions }
            }
        }
    }
}

impl Join<OpenCheckpoint> {
    /// Finds out how a value is joined to a base.
    ///
    /// # Errors
    /// [`ivl_core::Error::VocabMismatch`] for a value of another vocabulary without a map.
    pub(crate) fn new(
        base: &Vocab,
        value: &OpenCheckpoint,
        connection: Connection,
        attach: &Attach,
    ) -> Result<Self> {
        let Err(refusal) = VocabMap::same_ids(base, &value.vocab) else {
            return Ok(connection.cascade_input().map_or(Self::SameIds, Self::Cascade));
        };
        if connection.cascade_input().is_some() {
            return Err(refusal.into());
        }
        let map = VocabMaps::read(&attach.maps)?.between(base, &value.vocab)?;
        let Some(reference) = &attach.byte_fusion else {
            return map.map(Self::Mapped).ok_or_else(|| refusal.into());
        };
        // Over bytes, the map only pairs control tokens.
        let map = match map {
            Some(map) => map,
            None => align(base, &value.vocab, Method::Exact, None, &|_| ())?.map,
        };
        let reference = OpenCheckpoint::open(reference)?;
        Ok(Self::OverBytes { map, reference, config: attach.byte_fusion_config })
    }

    /// Loads the reference model, which has devices if there is one.
    fn load(self, placement: Option<&ModelPlacement>, options: &OpenOptions) -> Result<Join<TransformerLm>> {
        Ok(match self {
            Self::Cascade(input) => Join::Cascade(input),
            Self::SameIds => Join::SameIds,
            Self::Mapped(map) => Join::Mapped(map),
            Self::OverBytes { map, reference, config } => {
                let placement = placement.expect("a reference model is placed with its value");
                Join::OverBytes { map, reference: reference.load(None, placement, options)?, config }
            }
        })
    }
}

/// The devices of a value, and of the reference model of a value that is fused over bytes.
#[derive(Debug, Clone)]
pub(crate) struct ValuePlacement {
    pub(super) value: ModelPlacement,
    pub(super) reference: Option<ModelPlacement>,
}

/// A value that fits a base; its weights are not read yet.
pub(crate) struct PlannedValue {
    pub(super) name: String,
    alpha: f64,
    gate: Option<LearnedGate>,
    attach: Attach,
    connection: Connection,
    pub(super) value: OpenCheckpoint,
    pub(super) join: Join<OpenCheckpoint>,
}

impl PlannedValue {
    /// Opens a value (a directory or hub name) and finds out whether it fits a base.
    ///
    /// # Errors
    /// Errors of the value's files, [`ivl_core::Error::VocabMismatch`], [`Error::LearnedGate`], or [`Error::AdapterDifference`].
    pub(crate) fn new(name: &str, attach: &Attach, base: &Vocab) -> Result<Self> {
        let value = OpenCheckpoint::open(name)?;
        let card = ValueCard::read(&value.path)?;
        let connection = card.as_ref().map_or(Connection::Residual, |card| card.connection);
        let join = Join::new(base, &value, connection, attach)?;
        if attach.adapter_difference {
            check_difference(name, &value, card.as_ref())?;
        }
        let of_card = card.as_ref().map(|card| card.learned_gate(&value.path)).transpose()?.flatten();
        let gate = attach.gate.or(of_card);
        if gate.is_some() {
            join.check_learned_gate(name)?;
        }
        Ok(Self {
            name: attach.name.clone().unwrap_or_else(|| last_part(name).to_owned()),
            alpha: attach.alpha.or(card.map(|card| card.alpha)).unwrap_or(1.0),
            gate,
            attach: attach.clone(),
            connection,
            value,
            join,
        })
    }

    /// How it reads texts.
    pub(super) fn reader(&self) -> ValueReader<'_> {
        self.join.reader(&self.value.path, &self.value.tokenizer, self.value.max_positions())
    }

    /// The numbers that loading it reads; `base` is the directory of a base whose weights are in memory where it is to be.
    pub(super) fn numbers(&self, base: Option<&Path>) -> u64 {
        let reference = match &self.join {
            Join::OverBytes { reference, .. } => reference.numbers(None),
            Join::Cascade(_) | Join::SameIds | Join::Mapped(_) => 0,
        };
        self.value.numbers(base) + reference
    }

    /// Why a gate cannot skip this value, if it cannot.
    pub(crate) fn ungatable(&self) -> Option<String> {
        self.join.ungatable(&self.name)
    }

    /// Loads the weights; adapters share those of the base if they were trained on it and are to be on its devices.
    pub(crate) fn load(
        self,
        base: &SharedWeights<'_>,
        placement: &ValuePlacement,
        options: &OpenOptions,
    ) -> Result<AttachedValue> {
        let Self { name, alpha, gate, attach, connection, value, join } = self;
        let mut lm = value.load(Some(base), &placement.value, options)?;
        if attach.adapter_difference {
            let net = lm.into_parts().0.with_adapter_difference();
            let reason = "the head of its model adds a bias or caps its logits";
            lm = value.lm(net.ok_or_else(|| Error::AdapterDifference { value: name.clone(), reason })?);
        }
        let OpenCheckpoint { checkpoint, tokenizer, .. } = value;
        let join = join.load(placement.reference.as_ref(), options)?;
        Ok(AttachedValue { name, alpha, gate, attach, connection, checkpoint, tokenizer, lm, join })
    }
}

/// Refuses what is no fine-tuned model in the form of adapters.
fn check_difference(name: &str, value: &OpenCheckpoint, card: Option<&ValueCard>) -> Result<()> {
    let reason = match value.adapters() {
        None => "it holds no adapters, expected the adapters of a fine-tuned model",
        Some(_) if card.is_some_and(|card| !card.bases.is_empty()) => {
            "it was trained as a value, whose logits are what is added already"
        }
        Some(adapters) if adapters.norm => "its adapters come with a last norm of their own",
        Some(_) => return Ok(()),
    };
    Err(Error::AdapterDifference { value: name.to_owned(), reason })
}

/// A value that is attached to a model.
pub struct AttachedValue {
    pub(crate) name: String,
    pub(crate) alpha: f64,
    pub(crate) gate: Option<LearnedGate>,
    /// How it was attached.
    pub(super) attach: Attach,
    pub(super) connection: Connection,
    pub(super) checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    pub(crate) lm: TransformerLm,
    pub(crate) join: Join<TransformerLm>,
}

impl fmt::Debug for AttachedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AttachedValue");
        debug.field("name", &self.name).field("alpha", &self.alpha).field("path", &self.path());
        debug.field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl AttachedValue {
    /// The name that it is called by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its weight.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The gate that multiplies it, if it has one.
    pub fn gate(&self) -> Option<&LearnedGate> {
        self.gate.as_ref()
    }

    /// Its directory or file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The number of tokens that it can read.
    pub fn max_positions(&self) -> usize {
        self.lm.max_positions()
    }

    /// Whether it reads texts in its own tokens, not in the base's.
    pub fn has_own_tokens(&self) -> bool {
        matches!(self.join, Join::Mapped(_) | Join::OverBytes { .. })
    }

    /// The map from its vocabulary to the base's; `None` where equal ids mean equal tokens.
    pub fn map(&self) -> Option<&VocabMap> {
        match &self.join {
            Join::Mapped(map) | Join::OverBytes { map, .. } => Some(map),
            Join::Cascade(_) | Join::SameIds => None,
        }
    }

    /// The chat template that it was trained with, if any.
    ///
    /// # Errors
    /// [`Error::Chat`](crate::Error::Chat) for one that cannot be read.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        Ok(ChatTemplate::from_dir(self.path())?)
    }

    /// How it reads texts.
    pub(super) fn reader(&self) -> ValueReader<'_> {
        self.join.reader(self.path(), &self.tokenizer, self.checkpoint.config().max_positions)
    }

    /// Refuses a text that the value cannot read in its own tokens. While a text is generated, the base decides on its
    /// own there.
    ///
    /// # Errors
    /// [`Error::Unreadable`](crate::Error::Unreadable).
    pub fn check_readable(&self, text: &str) -> Result<()> {
        self.reader().check(text)
    }

    /// Why a gate cannot skip this value, if it cannot.
    pub(crate) fn ungatable(&self) -> Option<String> {
        self.join.ungatable(&self.name)
    }

    /// The place in the order in which values are fused.
    pub(crate) fn order(&self) -> usize {
        self.join.order()
    }
}
