//! A transformer with its vocabulary: the causal LM that everything else composes.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};
use ivl_core::causal_lm::SelectedComponents;
use ivl_core::fusion::LogitComponents;
use ivl_core::{Cache, CausalLm, Vocab};

use crate::transformer::{Transformer, rows_at};

/// A [`Transformer`] that knows what its logits stand for.
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
        self.net.new_cache(padding)
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        self.net.forward(tokens, cache)
    }

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let hidden = self.net.hidden(tokens, cache);
        let [batch, seq, width] = hidden.dims();
        self.net.head(hidden.slice([0..batch, seq - 1..seq, 0..width])).squeeze_dim(1)
    }

    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let hidden = rows_at(self.net.hidden(tokens, cache), positions);
        Box::new(move |rows| LogitComponents::new(self.net.head_rows(hidden.clone().slice([rows]))))
    }

    fn on_host(&self) -> bool {
        self.net.is_packed()
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.net.config().reads_at_once(positions)
    }

    fn name(&self) -> &str {
        &self.name
    }
}
