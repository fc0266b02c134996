//! An order of positions in which one pass of the base serves the loss and a cascade value.

use burn::tensor::Tensor;
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::predictions;
use ivl_core::row_chunks::row_ranges;
use ivl_models::Transformer;

use crate::data::batch::{Batch, index_tensor};

/// All positions of a batch, the trained ones first: the loss needs those, a cascade value reads all.
pub(crate) struct TrainedFirst {
    /// Positions in this order.
    pub(crate) positions: Vec<u32>,
    /// For each position of the batch, its place in this order.
    places: Vec<u32>,
}

impl TrainedFirst {
    pub(crate) fn new(batch: &Batch) -> Self {
        let mut trained = vec![false; batch.ids.len()];
        for &position in &batch.positions {
            trained[position as usize] = true;
        }
        let rest = (0..batch.ids.len() as u32).filter(|&position| !trained[position as usize]);
        let positions: Vec<u32> = batch.positions.iter().copied().chain(rest).collect();
        let mut places = vec![0; positions.len()];
        for (place, &position) in positions.iter().enumerate() {
            places[position as usize] = place as u32;
        }
        Self { positions, places }
    }

    /// Expected embeddings of a base's predictions at every position of the batch, `chunk` of them at a time; constants.
    ///
    /// # Shapes
    /// - output: `[rows * seq, hidden]`
    pub(crate) fn features(&self, net: &Transformer, base: &SelectedLogits<'_>, chunk: usize) -> Tensor<2> {
        let vocab = net.config().vocab_size;
        let parts = row_ranges(self.positions.len(), chunk)
            .map(|rows| net.expected_embedding(predictions(base.rows(rows), vocab)));
        let features = Tensor::cat(parts.collect(), 0);
        let places = index_tensor(&self.places, &features.device());
        features.select(0, places)
    }

    /// Rows of the batch in this order.
    ///
    /// # Shapes
    /// - `rows` and output: `[rows * seq, hidden]`
    pub(crate) fn reorder(&self, rows: Tensor<2>) -> Tensor<2> {
        let order = index_tensor(&self.positions, &rows.device());
        rows.select(0, order)
    }
}
