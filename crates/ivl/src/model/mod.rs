//! A base with any number of values, its tokenizer and its chat template.

mod attach;
pub(crate) mod builder;
mod chat;
mod chat_template;
mod draft;
pub(crate) mod draft_options;
mod fusion;
pub(crate) mod generation;
mod identity;
mod likelihood;
mod placing;
mod text_reader;
mod value;

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use ivl_core::fusion::{BaseLm, Gate, GateCounts, GatedLm, LearnedGate};
use ivl_core::{ValueStack, Vocab};
use ivl_models::{BaseCard, Checkpoint, SamplingDefaults, Tokenizer, TransformerLm, fused_end_tokens};

pub use self::attach::Attach;
pub(crate) use self::fusion::fuse;
use self::fusion::fuse_gated;
use self::placing::place_value;
pub(crate) use self::placing::{place_base, place_models};
pub use self::text_reader::TextReader;
pub use self::value::AttachedValue;
use self::value::ValuePlacement;
pub(crate) use self::value::{Join, PlannedValue};
use crate::error::{Error, Result};
use crate::open_checkpoint::{OpenCheckpoint, SharedWeights};
use crate::open_options::OpenOptions;
use crate::placement::{ModelPlacement, Planner};

/// A base with any number of values attached.
///
/// Its logits are `l = l_base + sum_i alpha_i * M_i(l_value_i)`; see [`FusedLm`](ivl_core::FusedLm).
pub struct Model {
    base: OpenCheckpoint,
    base_lm: TransformerLm,
    end_tokens: Vec<u32>,
    /// In the order in which they are fused.
    values: Vec<AttachedValue>,
    fused: Fused,
    options: OpenOptions,
    /// The devices of the base.
    placement: ModelPlacement,
    /// Places values that are attached later.
    planner: Planner,
}

/// Base and values as one causal LM.
enum Fused {
    Ungated(BaseLm),
    Gated(Gate, GatedLm),
}

/// Refuses a gate that has nothing to skip, or a value that it cannot skip; `values` says of each why it cannot be.
fn check_gate(gate: Option<Gate>, values: impl ExactSizeIterator<Item = Option<String>>) -> Result<()> {
    let Some(gate) = gate else { return Ok(()) };
    if values.len() == 0 {
        return Err(Error::GateWithoutValue { gate });
    }
    match values.flatten().next() {
        Some(reason) => Err(Error::GatedValue { gate, reason }),
        None => Ok(()),
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Model");
        debug.field("base", &self.base.path).field("values", &self.values).field("gate", &self.gate());
        debug.finish_non_exhaustive()
    }
}

impl Model {
    /// Attaches a value as its card says: residual, cascade, or low-rank adapters.
    ///
    /// # Errors
    /// Files that cannot be read; [`ivl_core::Error::VocabMismatch`] for a value of another vocabulary, which
    /// [`attach_with`](Self::attach_with) takes together with a map.
    pub fn attach(&mut self, value: impl AsRef<OsStr>) -> Result<()> {
        self.attach_with(value, Attach::new())
    }

    /// Attaches a value with a weight, a name or a map of one's own.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`Error::GatedValue`] if the model has a gate that cannot skip the value.
    pub fn attach_with(&mut self, value: impl AsRef<OsStr>, attach: Attach) -> Result<()> {
        let name = value.as_ref().to_string_lossy();
        let planned = PlannedValue::new(&name, &attach, &self.base.vocab)?;
        check_gate(self.gate(), std::iter::once(planned.ungatable()))?;
        let placement = place_value(&mut self.planner, (&self.base, &self.placement), &planned)?;
        self.load_value(planned, &placement)?;
        self.fuse(self.gate())
    }

    /// Loads a value and puts it in its place. The name of a value that was attached twice gets a number.
    fn load_value(&mut self, planned: PlannedValue, placement: &ValuePlacement) -> Result<()> {
        let shared =
            SharedWeights { path: &self.base.path, net: self.base_lm.net(), placement: &self.placement };
        let mut value = planned.load(&shared, placement, &self.options)?;
        value.name = self.free_name(&value.name);
        let place = self.values.partition_point(|other| other.order() <= value.order());
        self.values.insert(place, value);
        Ok(())
    }

    /// A name, or the name with the first unused number.
    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.values.iter().any(|value| value.name == name);
        let mut free = name.to_owned();
        let mut number = 2;
        while taken(&free) {
            free = format!("{name}#{number}");
            number += 1;
        }
        free
    }

    fn fuse(&mut self, gate: Option<Gate>) -> Result<()> {
        let values: Vec<(&AttachedValue, f64)> =
            self.values.iter().map(|value| (value, value.alpha)).collect();
        self.fused = match gate {
            None => Fused::Ungated(fuse(&self.base_lm, &values)?),
            Some(gate) => Fused::Gated(gate, fuse_gated(&self.base_lm, &values, gate)?),
        };
        self.end_tokens = self.find_end_tokens()?;
        Ok(())
    }

    /// Those of base and values, and those with which the chat template ends the assistant's turn.
    fn find_end_tokens(&self) -> Result<Vec<u32>> {
        let values: Vec<(&Checkpoint, &Tokenizer)> =
            self.values.iter().map(|value| (&value.checkpoint, value.tokenizer())).collect();
        // A template that cannot be read is an error where messages are rendered.
        let template = self.chat_template().ok();
        Ok(fused_end_tokens(&self.base.checkpoint, &self.base.tokenizer, &values, template.as_ref())?)
    }

    /// Consults the values only where a gate says so; `None` consults them everywhere.
    ///
    /// # Errors
    /// [`Error::GateWithoutValue`], [`Error::GatedValue`].
    pub fn set_gate(&mut self, gate: Option<Gate>) -> Result<()> {
        check_gate(gate, self.values.iter().map(AttachedValue::ungatable))?;
        self.fuse(gate)
    }

    /// Replaces the learned gate of the first value.
    pub(crate) fn set_learned_gate(&mut self, gate: Option<LearnedGate>) -> Result<()> {
        self.values[0].gate = gate;
        self.fuse(self.gate())
    }

    /// What the card of a value says of the base.
    pub(crate) fn base_card(&self) -> BaseCard {
        self.base.base_card()
    }

    /// The gate before the values, if there is one.
    pub fn gate(&self) -> Option<Gate> {
        match self.fused {
            Fused::Ungated(_) => None,
            Fused::Gated(gate, _) => Some(gate),
        }
    }

    /// The counts of the gate so far.
    pub fn gate_counts(&self) -> Option<GateCounts> {
        match &self.fused {
            Fused::Ungated(_) => None,
            Fused::Gated(_, lm) => Some(lm.log().counts()),
        }
    }

    /// Changes the weight of a value.
    ///
    /// # Errors
    /// [`Error::UnknownValue`]; [`ivl_core::Error::InvalidSetting`] for a weight that is not finite.
    pub fn set_alpha(&mut self, value: &str, alpha: f64) -> Result<()> {
        let Some(index) = self.values.iter().position(|other| other.name == value) else {
            let attached = self.values.iter().map(|value| value.name.clone()).collect();
            return Err(Error::UnknownValue { name: value.to_owned(), attached });
        };
        match &mut self.fused {
            Fused::Ungated(lm) => lm.set_alpha(index, alpha)?,
            Fused::Gated(_, lm) => lm.set_alpha(index, alpha)?,
        }
        self.values[index].alpha = alpha;
        Ok(())
    }

    /// The values, in the order in which they are fused: that of [`ValueStack::alphas`].
    pub fn values(&self) -> &[AttachedValue] {
        &self.values
    }

    /// The devices of the base, and its layers on each.
    pub fn base_placement(&self) -> &ModelPlacement {
        &self.placement
    }

    /// The base as it was named: a directory or a hub name.
    pub fn given_name(&self) -> &str {
        &self.base.name
    }

    /// Whether a value reads the predictions of the others: cached state is then only valid for the weights it was computed
    /// with.
    pub fn has_cascade_values(&self) -> bool {
        self.values.iter().any(|value| matches!(value.join, Join::Cascade(_)))
    }

    /// The directory or file of the base.
    pub fn base_path(&self) -> &Path {
        &self.base.path
    }

    /// The last part of the base's path.
    pub fn base_name(&self) -> String {
        let path = &self.base.path;
        path.file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// The base's tokenizer, which the whole model reads and writes with.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.base.tokenizer
    }

    /// The token of each logit.
    pub fn vocab(&self) -> &Vocab {
        &self.base.vocab
    }

    /// Tokens that end a text: those of base and values, and those with which the chat template ends the assistant's turn.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The sampling settings that the base's directory asks for.
    pub fn sampling_defaults(&self) -> SamplingDefaults {
        self.base.checkpoint.sampling_defaults()
    }

    /// The number of positions that base and values can read.
    pub fn max_positions(&self) -> usize {
        self.lm().max_positions()
    }

    /// The causal LM of base and values.
    pub fn lm(&self) -> &dyn ValueStack {
        match &self.fused {
            Fused::Ungated(lm) => lm,
            Fused::Gated(_, lm) => lm,
        }
    }

    /// The causal LM, whose rows can have weights of their own.
    ///
    /// # Errors
    /// [`Error::Gated`] for a model with a gate.
    pub fn ungated_lm(&self) -> Result<&BaseLm> {
        match &self.fused {
            Fused::Ungated(lm) => Ok(lm),
            Fused::Gated(gate, _) => Err(Error::Gated { gate: *gate }),
        }
    }

    /// The same, taken out of the model.
    ///
    /// # Errors
    /// [`Error::Gated`] for a model with a gate.
    pub fn into_ungated_lm(self) -> Result<BaseLm> {
        match self.fused {
            Fused::Ungated(lm) => Ok(lm),
            Fused::Gated(gate, _) => Err(Error::Gated { gate }),
        }
    }

    /// Turns texts into tokens, and refuses those that cannot be read.
    pub fn reader(&self) -> TextReader<'_> {
        let values = self.values.iter().map(AttachedValue::reader).collect();
        TextReader::new(&self.base, values, &self.options.chat_template)
    }

    /// Refuses a text that a value cannot read in its own tokens.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn check_readable(&self, text: &str) -> Result<()> {
        self.reader().check_readable(text)
    }
}
