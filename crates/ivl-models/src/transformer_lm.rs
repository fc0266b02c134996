//! A transformer with its vocabulary: the causal LM that everything else composes.

use burn::tensor::{Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::causal_lm::{ModelInfo, Positions, SelectedLogits};
use ivl_core::{Cache, CausalLm, Error, Vocab};

use crate::transformer::Transformer;

/// A [`Transformer`] with the tokens of its logits.
#[derive(Debug, Clone)]
pub struct TransformerLm {
    net: Transformer,
    vocab: Vocab,
    name: String,
}

impl TransformerLm {
    /// Joins a network and the vocabulary of its logits; `name` is for messages.
    pub fn new(net: Transformer, vocab: Vocab, name: &str) -> Self {
        Self { vocab: vocab.padded_to(net.config().vocab_size), net, name: name.to_owned() }
    }

    /// The network.
    pub fn net(&self) -> &Transformer {
        &self.net
    }

    /// The network and its vocabulary.
    pub fn into_parts(self) -> (Transformer, Vocab) {
        (self.net, self.vocab)
    }
}

/// The layers of a cache, if `net` or a network of the same shape made it.
pub(crate) fn layers<'c>(net: &Transformer, cache: &'c mut Cache) -> Result<&'c mut LayerCache, Error> {
    let config = net.config();
    let layers = cache.layers(config.layers.len())?;
    layers.check_copies(net.copies())?;
    layers.check_shapes(config.cache_shapes())?;
    Ok(layers)
}

impl CausalLm for TransformerLm {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn max_positions(&self) -> usize {
        self.net.config().max_positions
    }

    fn device(&self) -> Device {
        self.net.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(self.net.new_cache(padding))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        Ok(self.net.forward(tokens, layers(&self.net, cache)?))
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        let hidden = at.select(self.net.hidden(tokens, layers(&self.net, cache)?));
        Ok(SelectedLogits::with_head(hidden, |hidden| self.net.head_rows(hidden)))
    }

    fn info(&self) -> ModelInfo {
        let config = self.net.config();
        ModelInfo::new(&self.name)
            .length_dependence(config.length_dependence())
            .cache_bytes(config.cache_bytes(self.net.kv_format(), 1).times(self.net.copies()))
    }
}
