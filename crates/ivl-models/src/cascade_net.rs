//! A transformer that reads a base's predictions: the network of a cascade value.

use burn::tensor::{Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::causal_lm::ModelInfo;
use ivl_core::fusion::CascadeValue;
use ivl_core::{Cache, Error, Vocab};

use crate::transformer::Transformer;
use crate::transformer_lm::layers;

/// The input of a cascade network at each position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CascadeInput {
    /// The expected embedding of the base's next-token distribution: `softmax(b) E`.
    Predictions,
    /// The embedding of the token, then that of the prediction: two positions for each token, and the logits of the second.
    TextAndPredictions,
}

impl CascadeInput {
    /// Positions read for each token.
    pub fn stride(self) -> usize {
        match self {
            Self::Predictions => 1,
            Self::TextAndPredictions => 2,
        }
    }

    /// An empty cache for a network that is fed so; see [`CausalLm::new_cache`](ivl_core::CausalLm::new_cache).
    pub fn new_cache(self, net: &Transformer, padding: &[usize]) -> LayerCache {
        net.new_cache(padding).with_stride(self.stride())
    }

    /// Inputs in reading order.
    ///
    /// # Shapes
    /// - `text`, `predicted`: `[batch, seq, hidden]`
    /// - output: `[batch, stride * seq, hidden]`
    pub fn arrange(self, text: impl FnOnce() -> Tensor<3>, predicted: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Predictions => predicted,
            Self::TextAndPredictions => {
                let [batch, seq, hidden] = predicted.dims();
                Tensor::stack::<4>(vec![text(), predicted], 2).reshape([batch, 2 * seq, hidden])
            }
        }
    }

    /// The hidden states that predict, of all that were read.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, stride * seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    pub fn outputs(self, hidden: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Predictions => hidden,
            Self::TextAndPredictions => {
                let [batch, seq, width] = hidden.dims();
                hidden.reshape([batch, seq / 2, 2, width]).narrow(2, 1, 1).squeeze_dim(2)
            }
        }
    }
}

/// A [`Transformer`] as a cascade value.
#[derive(Debug, Clone)]
pub struct CascadeNet {
    net: Transformer,
    input: CascadeInput,
    vocab: Vocab,
    name: String,
}

impl CascadeNet {
    /// Joins a network, what it is fed, and the vocabulary of its logits; `name` is for messages.
    pub fn new(net: Transformer, input: CascadeInput, vocab: Vocab, name: &str) -> Self {
        Self { vocab: vocab.padded_to(net.config().vocab_size), net, input, name: name.to_owned() }
    }
}

impl CascadeValue for CascadeNet {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn max_positions(&self) -> usize {
        self.net.config().max_positions / self.input.stride()
    }

    fn device(&self) -> Device {
        self.net.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(self.input.new_cache(&self.net, padding))
    }

    fn forward(
        &self,
        tokens: Tensor<2, Int>,
        predicted: Tensor<3>,
        cache: &mut Cache,
    ) -> Result<Tensor<3>, Error> {
        let cache = layers(&self.net, cache)?;
        let [batch, seq, vocab] = predicted.dims();
        let predicted = self.net.expected_embedding(predicted.reshape([batch * seq, vocab]));
        let predicted = predicted.reshape([batch as i64, seq as i64, -1]);
        let embedded = self.input.arrange(|| self.net.embed(tokens), predicted);
        Ok(self.net.head(self.input.outputs(self.net.hidden_from_embeddings(embedded, cache))))
    }

    fn info(&self) -> ModelInfo {
        let (config, stride) = (self.net.config(), self.input.stride());
        ModelInfo::new(&self.name)
            .length_dependence(config.length_dependence().with_stride(stride))
            .cache_bytes(config.cache_bytes(self.net.kv_format(), stride))
    }
}
