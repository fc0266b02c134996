//! How the trained network reads its input: the text, or what a base predicts.

use burn::tensor::{Int, Tensor};
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::predictions;
use ivl_models::transformer::rows_at;
use ivl_models::{CascadeInput, Transformer};

use crate::data::batch::{Batch, index_tensor};

/// Hidden states of a residual network at all positions, shape `[rows, seq, hidden]`.
pub(crate) fn residual_hidden(net: &Transformer, batch: &Batch, tokens: Tensor<2, Int>) -> Tensor<3> {
    net.hidden(tokens, &mut batch.layer_cache(|padding| net.new_cache(padding)))
}

/// Hidden states of a cascade network at the trained positions, shape `[n, hidden]`, from the expected embeddings of the
/// base's predictions at all positions, shape `[rows * seq, hidden]`.
pub(crate) fn cascade_hidden(
    net: &Transformer,
    input: CascadeInput,
    batch: &Batch,
    tokens: Tensor<2, Int>,
    features: Tensor<2>,
) -> Tensor<2> {
    let ([rows, seq], width) = (tokens.dims(), features.dims()[1]);
    let embedded = input.arrange(|| net.embed(tokens), features.reshape([rows, seq, width]));
    let mut cache = batch.layer_cache(|padding| input.new_cache(net, padding));
    let hidden = input.outputs(net.hidden_of(embedded, &mut cache));
    rows_at(hidden, batch.position_tensor(&net.device()))
}

/// All positions of a batch, the trained ones first: then one pass of the base serves both the loss, which wants those, and
/// a cascade network, which reads all.
pub(crate) struct TrainedFirst {
    /// Positions in this order.
    pub(crate) positions: Vec<u32>,
    /// For each position of the batch, its place in this order.
    places: Vec<u32>,
}

impl TrainedFirst {
    pub(crate) fn new(batch: &Batch) -> Self {
        let mut trained = vec![false; batch.ids.len()];
        batch.positions.iter().for_each(|&position| trained[position as usize] = true);
        let rest = (0..batch.ids.len() as u32).filter(|&position| !trained[position as usize]);
        let positions: Vec<u32> = batch.positions.iter().copied().chain(rest).collect();
        let mut places = vec![0; positions.len()];
        positions.iter().enumerate().for_each(|(place, &position)| places[position as usize] = place as u32);
        Self { positions, places }
    }

    /// Expected embeddings of a base's predictions at every position of the batch, `chunk` of them at a time; constants.
    ///
    /// # Shapes
    /// - output: `[rows * seq, hidden]`
    pub(crate) fn features(&self, net: &Transformer, base: &SelectedLogits<'_>, chunk: usize) -> Tensor<2> {
        let vocab = net.config().vocab_size;
        let parts = (0..self.positions.len()).step_by(chunk).map(|start| {
            let rows = start..(start + chunk).min(self.positions.len());
            net.expected_embedding(predictions(base.rows(rows), vocab))
        });
        let features = Tensor::cat(parts.collect(), 0);
        let places = index_tensor(&self.places, &features.device());
        features.select(0, places)
    }

    /// What is at every position of the batch, in this order.
    ///
    /// # Shapes
    /// - `rows` and output: `[rows * seq, hidden]`
    pub(crate) fn reorder(&self, rows: Tensor<2>) -> Tensor<2> {
        let order = index_tensor(&self.positions, &rows.device());
        rows.select(0, order)
    }
}
