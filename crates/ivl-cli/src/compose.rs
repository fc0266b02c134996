//! From options to models: which directories, on which device, joined to one causal LM.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, FusedLm, Value, VocabMap};
use ivl_models::{ChatTemplate, Checkpoint, Tokenizer, TransformerLm};
use ivl_train::ValueCard;

use crate::args::{Common, Models};
use crate::device::{device, dtype};
use crate::hub::resolve;
use crate::other_vocabulary::{Crossing, Reads};
use crate::progress::bar;

/// A base with its values, and what is needed to speak with it.
pub struct Composed {
    pub lm: Box<dyn CausalLm>,
    pub tokenizer: Tokenizer,
    pub end_tokens: Vec<u32>,
    reads: Vec<Reads>,
    base: PathBuf,
    values: Vec<PathBuf>,
}

impl Composed {
    /// Loads what `--base` and `--value` name.
    pub fn load(models: &Models, common: &Common) -> Result<Self> {
        let device = device(common)?;
        let base = resolve(&models.base)?;
        let crossing = Crossing::new(&models.vocabularies)?;
        // Every name is looked up before the first weight is read.
        let values: Vec<(PathBuf, f64)> =
            models.value.iter().map(|value| value_option(value)).collect::<Result<_>>()?;
        let checkpoint = Checkpoint::open(&base)?;
        let (lm, tokenizer) = load_lm(&checkpoint, &device, dtype(common), common)?;
        let end_tokens = checkpoint.end_tokens(&tokenizer)?;
        let (mut same, mut other, mut reads, mut dirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (dir, alpha) in values {
            let (value, value_tokenizer) = load_lm(&Checkpoint::open(&dir)?, &device, dtype(common), common)?;
            match VocabMap::same_ids(lm.vocab(), value.vocab()) {
                Ok(_) => same.push(Value::new(Box::new(value), alpha)),
                Err(refusal) => {
                    reads.push(Reads {
                        name: dir.display().to_string(),
                        tokenizer: value_tokenizer.clone(),
                        max_positions: value.max_positions(),
                    });
                    other.push(((value, value_tokenizer, alpha), refusal));
                }
            }
            dirs.push(dir);
        }
        let mut lm: Box<dyn CausalLm> = Box::new(lm);
        if !same.is_empty() {
            lm = Box::new(FusedLm::new(lm, same)?);
        }
        for (value, refusal) in other {
            lm = crossing.attach(lm, value, refusal, (&device, dtype(common), common))?;
        }
        Ok(Self { lm, tokenizer, end_tokens, reads, base, values: dirs })
    }

    /// Refuses a text that a value cannot read in its own tokens.
    pub fn check(&self, text: &str) -> Result<()> {
        self.reads.iter().try_for_each(|reads| reads.check(text))
    }

    /// The template that the first value was trained with, else the base's.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        for dir in self.values.iter().chain(std::iter::once(&self.base)) {
            if let Some(template) = ChatTemplate::from_dir(dir)? {
                return Ok(template);
            }
        }
        anyhow::bail!(
            "neither `{}` nor a value has a chat template (chat_template.jinja or tokenizer_config.json); use --prompt",
            self.base.display()
        )
    }
}

/// Loads weights and tokenizer, with a bar.
pub fn load_lm(
    checkpoint: &Checkpoint,
    device: &Device,
    dtype: DType,
    common: &Common,
) -> Result<(TransformerLm, Tokenizer)> {
    let name = checkpoint.dir().display().to_string();
    let bar = bar(common, 0, "{msg} {bar:30} {percent}%");
    bar.set_message(format!("loading {name}"));
    let loaded = checkpoint.load_lm(device, dtype, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    loaded.with_context(|| format!("cannot load `{name}`"))
}

/// `VALUE[:ALPHA]`. A path that exists as it stands wins over the reading with an alpha.
fn value_option(text: &str) -> Result<(PathBuf, f64)> {
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
    Ok((dir, alpha.or(card.map(|card| card.alpha)).unwrap_or(1.0)))
}
