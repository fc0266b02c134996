//! One base of the study, before and after its weights are read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;
use ivl_models::{
    ChatError, ChatTemplate, Checkpoint, TemplateChoice, Tokenizer, Transformer, TransformerLm, ValueCard,
};

use crate::args::Common;
use crate::compose::load_lm;
use crate::device::dtype;
use crate::digest::sha256;
use crate::hub::resolve;

/// What is small of a base: everything but its weights.
pub struct OpenBase {
    /// As it is called in the table.
    pub name: String,
    pub dir: PathBuf,
    pub checkpoint: Checkpoint,
    pub tokenizer: Tokenizer,
    pub vocab: Vocab,
    /// The value's, else its own.
    pub template: Option<ChatTemplate>,
    pub end_tokens: Vec<u32>,
}

impl OpenBase {
    pub fn open(name: &str, value: &Path) -> Result<Self> {
        let dir = resolve(name)?;
        let checkpoint = Checkpoint::open(&dir)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = match TemplateChoice::default().find(&dir, &[value]) {
            Err(ChatError::NoTemplate { .. }) => None,
            found => Some(found?),
        };
        Ok(Self {
            name: name.to_owned(),
            vocab: checkpoint.vocab(&tokenizer)?,
            end_tokens: checkpoint.end_tokens(&tokenizer)?,
            dir,
            checkpoint,
            tokenizer,
            template,
        })
    }

    /// Whether the value was trained against it: the same configuration and tokenizer under the same last name. Weights
    /// are not compared; a base that was trained further keeps all but its name.
    pub fn is_home(&self, card: Option<&ValueCard>) -> Result<bool> {
        let config = sha256(&serde_json::to_vec(self.checkpoint.json())?);
        let tokenizer = self.tokenizer.vocab();
        let last = |name: &str| Path::new(name).file_name().map(ToOwned::to_owned);
        let own = self.dir.file_name().map(ToOwned::to_owned);
        let names = [last(&self.name), own];
        Ok(card.is_some_and(|card| {
            card.bases.iter().any(|base| {
                base.config == config
                    && base.tokenizer == tokenizer.fingerprint()
                    && names.contains(&last(&base.name))
            })
        }))
    }

    /// Loads the weights.
    pub fn load(&self, device: &Device, common: &Common) -> Result<Transformer> {
        let (lm, _) = load_lm(&self.checkpoint, device, dtype(common), common)?;
        Ok(lm.into_parts().0)
    }

    /// A model with weights that are shared.
    pub fn lm(&self, net: &Transformer) -> TransformerLm {
        TransformerLm::new(net.clone(), self.vocab.clone(), &self.name)
    }

    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control)
    }
}

/// Short names: the last part of a path, or all of it where two would be alike.
pub fn short_names(names: &[String]) -> Vec<String> {
    let last = |name: &String| {
        let last = Path::new(name).file_name().and_then(|last| last.to_str());
        last.unwrap_or(name).to_owned()
    };
    let short: Vec<String> = names.iter().map(last).collect();
    let unique = |index: &usize| short.iter().filter(|other| **other == short[*index]).count() == 1;
    (0..names.len())
        .map(|index| if unique(&index) { short[index].clone() } else { names[index].clone() })
        .collect()
}

/// A directory with a checkpoint and its tokenizer that gives tokens the base's ids.
pub fn load_tuned(name: &str, device: &Device, common: &Common) -> Result<(TransformerLm, Vec<u32>)> {
    let checkpoint = Checkpoint::open(&resolve(name)?)?;
    let (lm, tokenizer) = load_lm(&checkpoint, device, dtype(common), common)?;
    let end_tokens = checkpoint.end_tokens(&tokenizer).with_context(|| format!("`{name}`"))?;
    Ok((lm, end_tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be_told_apart() {
        let names = ["a/small", "b/small", "b/large", "org/tiny"].map(str::to_owned);
        assert_eq!(short_names(&names), ["a/small", "b/small", "large", "tiny"]);
    }
}
