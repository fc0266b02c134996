//! From options to models: which directories, on which device, joined to one causal LM.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use ivl_core::fusion::{BaseLm, CascadeLm, Gate, GateCounts, GateLog, GatedLm};
use ivl_core::{CausalLm, FusedLm, Value, ValueStack, VocabMap};
use ivl_models::{
    CascadeNet, ChatTemplate, Checkpoint, Connection, LoadOptions, Progress, Tokenizer, Transformer,
    TransformerLm, ValueCard, Weights,
};

use crate::args::{Common, Models, Vocabularies};
use crate::device::{device, dtype};
use crate::hub::resolve;
use crate::other_vocabulary::{Crossing, Reads};
use crate::progress::bar;

/// A base with its values, and what is needed to speak with it.
pub struct Composed {
    pub lm: ComposedLm,
    pub tokenizer: Tokenizer,
    pub end_tokens: Vec<u32>,
    /// In the order in which they are added: that of [`ValueStack::alphas`].
    pub attached: Vec<Attached>,
    /// What keeps the values from being asked, if anything does.
    pub gate: Option<Gating>,
    base: PathBuf,
    values: Vec<PathBuf>,
}

const GATED: &str = "a gate does not go with drafts or a server: both need the values at every token";

/// A base with its values, or with values that a gate leaves out at some positions.
pub enum ComposedLm {
    Rows(BaseLm),
    Gated(GatedLm),
}

impl ComposedLm {
    /// The model, if its rows can have weights of their own.
    pub fn rows(&self) -> Result<&BaseLm> {
        match self {
            Self::Rows(lm) => Ok(lm),
            Self::Gated(_) => anyhow::bail!(GATED),
        }
    }

    /// As [`rows`](Self::rows).
    pub fn into_rows(self) -> Result<BaseLm> {
        match self {
            Self::Rows(lm) => Ok(lm),
            Self::Gated(_) => anyhow::bail!(GATED),
        }
    }
}

impl Deref for ComposedLm {
    type Target = dyn ValueStack;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Rows(lm) => lm,
            Self::Gated(lm) => lm,
        }
    }
}

impl DerefMut for ComposedLm {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Rows(lm) => lm,
            Self::Gated(lm) => lm,
        }
    }
}

/// A value that was attached.
pub struct Attached {
    pub name: String,
    pub alpha: f64,
    pub dir: PathBuf,
    /// What it can read, if not the base's tokens.
    pub reads: Option<Reads>,
}

/// A gate and what it has done.
pub struct Gating {
    gate: Gate,
    log: Arc<GateLog>,
}

impl Gating {
    pub fn json(&self) -> serde_json::Value {
        let GateCounts { positions, consulted, base_passes, value_passes } = self.log.counts();
        serde_json::json!({
            "gate": self.gate.to_string(), "positions": positions, "consulted": consulted,
            "skipped": positions - consulted, "base_passes": base_passes, "value_passes": value_passes,
        })
    }
}

impl std::fmt::Display for Gating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GateCounts { positions, consulted, base_passes, value_passes } = self.log.counts();
        write!(
            f,
            "{}: values asked at {consulted} of {positions} tokens, in {value_passes} passes for {base_passes} of the base",
            self.gate
        )
    }
}

impl Composed {
    /// Loads what `--base` and `--value` name.
    pub fn load(models: &Models, common: &Common) -> Result<Self> {
        Self::load_gated(models, None, common)
    }

    /// Loads what `--base` and `--value` name, with a gate before the values.
    pub fn load_gated(models: &Models, gate: Option<Gate>, common: &Common) -> Result<Self> {
        let mut values: Vec<NamedValue> = Vec::with_capacity(models.value.len());
        for value in &models.value {
            let value = value_option(value)?;
            let taken = |name: &String| values.iter().any(|other| other.name == *name);
            let names =
                std::iter::once(value.name.clone()).chain((2..).map(|n| format!("{}#{n}", value.name)));
            let name = names.into_iter().find(|name| !taken(name)).unwrap_or_default();
            values.push(NamedValue { name, ..value });
        }
        Self::of((&models.base, values), &models.vocabularies, gate, common)
    }

    /// Loads a base and values that were looked up: every name is, before the first weight is read.
    pub fn of(
        (base, values): (&str, Vec<NamedValue>),
        vocabularies: &Vocabularies,
        gate: Option<Gate>,
        common: &Common,
    ) -> Result<Self> {
        let device = device(common)?;
        let base = resolve(base)?;
        let crossing = Crossing::new(vocabularies)?;
        let checkpoint = Checkpoint::open(&base)?;
        let (lm, tokenizer) = load_lm(&checkpoint, &device, dtype(common), common)?;
        let end_tokens = checkpoint.end_tokens(&tokenizer)?;
        // A handle to the base's weights, for values that are adapters on them.
        let shared = Shared { dir: &base, net: lm.net().clone() };
        let value_lm = |dir: &Path| load_value(dir, &shared, &device, common);
        let mut lm = BaseLm::plain(lm);
        // Cascade values read the base's own predictions: they come first.
        let (cascades, residuals): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.connection.cascade_input().is_some());
        if let (Some(gate), Some(value)) = (gate, cascades.first()) {
            anyhow::bail!(
                "--gate {gate}: `{}` is a cascade value, which reads the base's prediction at every token; a gate \
                needs residual values",
                value.name
            );
        }
        if let Some(gate) = gate.filter(|_| residuals.is_empty()) {
            anyhow::bail!(
                "--gate {gate} keeps values from being asked, but there is none: give one with --value"
            );
        }
        let mut attached = Vec::with_capacity(values.len());
        let mut attach = |value: &NamedValue, reads: Option<Reads>| {
            let (name, dir) = (value.name.clone(), value.dir.clone());
            attached.push(Attached { name, alpha: value.alpha, dir, reads });
        };
        for value in cascades {
            let Some(input) = value.connection.cascade_input() else { continue };
            let (net, _) = value_lm(&value.dir)?;
            let (net, vocab) = net.into_parts();
            let net = CascadeNet::new(net, input, vocab, &value.dir.display().to_string());
            lm = CascadeLm::on(lm, Box::new(net), value.alpha)?.into();
            attach(value, None);
        }
        let (mut parts, mut others) = (Vec::new(), Vec::new());
        for value in residuals {
            let (net, reader) = value_lm(&value.dir)?;
            match VocabMap::same_ids(lm.vocab(), net.vocab()) {
                Ok(_) => {
                    parts.push(Value::new(Box::new(net), value.alpha));
                    attach(value, None);
                }
                Err(refusal) => others.push((net, reader, value, refusal)),
            }
        }
        if let (Some(gate), true, Some((_, _, value, _))) = (gate, crossing.is_over_bytes(), others.first()) {
            anyhow::bail!(
                "--gate {gate}: `{}` is fused over bytes; a gate needs values that are added",
                value.name
            );
        }
        // Through a map a value is one of several; over bytes it is fused with all that comes before it.
        let mut over_bytes = Vec::new();
        for (net, reader, value, refusal) in others {
            attach(value, Some(Reads::new(&value.dir, &reader, net.max_positions())));
            let value = (net, reader, value.alpha);
            if crossing.is_over_bytes() {
                over_bytes.push((value, refusal));
            } else {
                parts.push(crossing.value(lm.vocab(), value, refusal)?);
            }
        }
        let mut gating = None;
        let lm = if let Some(gate) = gate {
            let gated = GatedLm::new(FusedLm::on(lm, parts)?, gate);
            gating = Some(Gating { gate, log: gated.log() });
            ComposedLm::Gated(gated)
        } else {
            let mut lm = if parts.is_empty() { lm } else { FusedLm::on(lm, parts)?.into() };
            for (value, refusal) in over_bytes {
                let placed = (&device, dtype(common), common);
                lm = BaseLm::stack(crossing.over_bytes(lm, value, refusal, placed)?);
            }
            ComposedLm::Rows(lm)
        };
        let dirs = values.into_iter().map(|value| value.dir).collect();
        Ok(Self { lm, tokenizer, end_tokens, attached, gate: gating, base, values: dirs })
    }

    /// Changes the weight of the value of a name, or of all.
    pub fn set_alphas(&mut self, name: Option<&str>, alpha: f64) -> Result<()> {
        let chosen = |value: &Attached| name.is_none_or(|name| value.name == name);
        if !self.attached.iter().any(chosen) {
            let names: Vec<&str> = self.attached.iter().map(|value| value.name.as_str()).collect();
            anyhow::bail!(
                "there is no value `{}`; attached: {}",
                name.unwrap_or("at all"),
                match names.as_slice() {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                }
            );
        }
        for (index, value) in self.attached.iter_mut().enumerate().filter(|(_, value)| chosen(value)) {
            self.lm.set_alpha(index, alpha)?;
            value.alpha = alpha;
        }
        Ok(())
    }

    /// The base's directory.
    pub fn base_dir(&self) -> &Path {
        &self.base
    }

    /// The last part of the base's name.
    pub fn base_name(&self) -> String {
        self.base
            .file_name()
            .map_or_else(|| self.base.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// Refuses a text that a value cannot read in its own tokens.
    pub fn check(&self, text: &str) -> Result<()> {
        self.attached.iter().filter_map(|value| value.reads.as_ref()).try_for_each(|reads| reads.check(text))
    }

    /// The template that the first value was trained with, else the base's.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        for dir in self.values.iter().chain(std::iter::once(&self.base)) {
            if let Some(template) = ChatTemplate::from_dir(dir)? {
                return Ok(template);
            }
        }
        anyhow::bail!(
            "neither `{}` nor a value has a chat template (chat_template.jinja or tokenizer_config.json); add one, or ask without it: `--prompt`, `--text` and tasks need none",
            self.base.display()
        )
    }
}

/// A base that is loaded, for adapters that were trained on it.
pub struct Shared<'a> {
    pub dir: &'a Path,
    pub net: Transformer,
}

/// Loads a value. Adapters share the weights of the base if it is the model that they were trained on.
pub fn load_value(
    dir: &Path,
    shared: &Shared<'_>,
    device: &Device,
    common: &Common,
) -> Result<(TransformerLm, Tokenizer)> {
    let checkpoint = Checkpoint::open(dir)?;
    let Some(adapters) = checkpoint.adapters()? else {
        return load_lm(&checkpoint, device, dtype(common), common);
    };
    let name = dir.display().to_string();
    let own =
        resolve(&adapters.base).with_context(|| format!("`{name}` holds adapters on `{}`", adapters.base))?;
    let same = own.canonicalize().ok() == shared.dir.canonicalize().ok();
    let net = match same {
        true => shared.net.clone(),
        false => load_lm(&Checkpoint::open(&own)?, device, dtype(common), common)?.0.into_parts().0,
    };
    let tokenizer = checkpoint.tokenizer()?;
    let vocab = checkpoint.vocab(&tokenizer)?;
    let net = checkpoint.load_adapters(net, &adapters).with_context(|| format!("cannot load `{name}`"))?;
    Ok((TransformerLm::new(net, vocab, &name), tokenizer))
}

/// Loads weights and tokenizer, with a bar.
pub fn load_lm(
    checkpoint: &Checkpoint,
    device: &Device,
    weights: Weights,
    common: &Common,
) -> Result<(TransformerLm, Tokenizer)> {
    let name = checkpoint.dir().display().to_string();
    let bar = bar(common, 0, "{msg} {bar:30} {percent}%");
    bar.set_message(format!("loading {name}"));
    let mut show = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let loaded = checkpoint.load_lm(device, LoadOptions::new(weights).progress(&mut show));
    bar.finish_and_clear();
    loaded.with_context(|| format!("cannot load `{name}`"))
}

/// A value as the command line names it.
pub struct NamedValue {
    /// The last part of what it was called by.
    pub name: String,
    pub dir: PathBuf,
    pub alpha: f64,
    pub connection: Connection,
}

/// `VALUE[:ALPHA]`. A path that exists as it stands wins over the reading with an alpha.
pub fn value_option(text: &str) -> Result<NamedValue> {
    let (name, alpha) = match text.rsplit_once(':') {
        Some((name, alpha)) if !Path::new(text).exists() => match alpha.parse::<f64>() {
            Ok(alpha) => (name, Some(alpha)),
            Err(_) => {
                anyhow::bail!("--value is `{text}`, expected VALUE or VALUE:ALPHA with a number for ALPHA")
            }
        },
        _ => (text, None),
    };
    let dir = resolve(name)?;
    let card = ValueCard::read(&dir)?;
    let connection = card.as_ref().map_or(Connection::Residual, |card| card.connection);
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    Ok(NamedValue {
        name: last.to_owned(),
        dir,
        alpha: alpha.or(card.map(|card| card.alpha)).unwrap_or(1.0),
        connection,
    })
}
