//! A value on a base.

use anyhow::{Context, Result};
use burn::tensor::Device;
use ivl_core::cross_tokenizer::RetokenizedValue;
use ivl_core::fusion::{BaseLm, CascadeLm};
use ivl_core::{CausalLm, FusedLm, Value, Vocab, VocabMap};
use ivl_models::{CascadeInput, CascadeNet, Tokenizer, Transformer, TransformerLm};

use super::base::OpenBase;
use crate::args::Common;
use crate::compose::{NamedValue, Shared, load_value, value_option};
use crate::other_vocabulary::map_between;

/// A value whose weights are read, and how it is joined to one base.
pub struct Plug<'a> {
    base: (&'a OpenBase, Transformer),
    net: Transformer,
    vocab: Vocab,
    tokenizer: Tokenizer,
    input: Option<CascadeInput>,
    /// Which value logit speaks about which token of the base.
    pub map: VocabMap,
    /// Whether both cut texts into the same tokens.
    same_tokens: bool,
    name: String,
}

/// The map from a value's vocabulary to a base's, and whether equal ids mean equal tokens.
pub fn map(base: &OpenBase, value: &Vocab, maps: &[String]) -> Result<(VocabMap, bool)> {
    let refusal = match VocabMap::same_ids(&base.vocab, value) {
        Ok(map) => return Ok((map, true)),
        Err(refusal) => anyhow::Error::from(refusal),
    };
    let mut error = refusal;
    for text in maps {
        match map_between(text, &base.vocab, value) {
            Ok(map) => return Ok((map, false)),
            Err(other) => error = other,
        }
    }
    Err(error)
        .with_context(|| format!("no --map leads from the value's vocabulary to that of `{}`", base.name))
}

impl<'a> Plug<'a> {
    pub fn load(
        value: &str,
        base: &'a OpenBase,
        net: &Transformer,
        maps: &[String],
        (device, common): (&Device, &Common),
    ) -> Result<Self> {
        let NamedValue { dir, connection, .. } = value_option(value)?;
        let shared = Shared { dir: &base.dir, net: net.clone() };
        let (lm, tokenizer) = load_value(&dir, &shared, device, common)?;
        let (value_net, vocab) = lm.into_parts();
        let (map, same_tokens) = map(base, &vocab, maps)?;
        Ok(Self {
            base: (base, net.clone()),
            net: value_net,
            vocab,
            tokenizer,
            input: connection.cascade_input(),
            map,
            same_tokens,
            name: value.to_owned(),
        })
    }

    /// The value's vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The base with the value at a weight. Weights in memory are shared, so this costs next to nothing.
    pub fn at(&self, alpha: f64) -> Result<BaseLm> {
        self.on(self.alone(), alpha)
    }

    fn alone(&self) -> BaseLm {
        BaseLm::plain(self.base.0.lm(&self.base.1))
    }

    fn on(&self, base: BaseLm, alpha: f64) -> Result<BaseLm> {
        if let Some(input) = self.input {
            let value = CascadeNet::new(self.net.clone(), input, self.vocab.clone(), &self.name);
            return Ok(CascadeLm::on(base, Box::new(value), alpha)?.into());
        }
        let value = Box::new(TransformerLm::new(self.net.clone(), self.vocab.clone(), &self.name));
        let value = if self.same_tokens {
            Value::new(value, alpha).with_map(self.map.clone())
        } else {
            let tokenizer = Box::new(self.tokenizer.clone());
            let value = RetokenizedValue::new(base.vocab(), value, self.map.clone(), tokenizer)?;
            Value::partial(Box::new(value), alpha)
        };
        Ok(FusedLm::on(base, vec![value])?.into())
    }
}

/// All values on their base, each at weight 0: what a cascade value reads is then the base's own prediction.
pub fn together(plugs: &[Plug<'_>]) -> Result<BaseLm> {
    let first = plugs.first().context("no value")?;
    plugs.iter().try_fold(first.alone(), |base, plug| plug.on(base, 0.0))
}
