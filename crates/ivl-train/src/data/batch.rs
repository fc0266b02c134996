//! One micro-batch.

use burn::tensor::{Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::tokens::token_tensor;

use crate::data::example::Example;

/// One micro-batch: examples side by side, or several one after the other in a row.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Ids, row-major, padded on the right: causal attention never looks there.
    pub ids: Vec<u32>,
    /// Rows.
    pub rows: usize,
    /// Lengths of the examples in each row, one after the other.
    pub segments: Vec<Vec<usize>>,
    /// Indices into `ids` of the positions whose next token is trained.
    pub positions: Vec<u32>,
    /// Those next tokens.
    pub targets: Vec<u32>,
    /// Indices of the examples among all of the run, row by row; without a plan, their order here.
    pub examples: Vec<usize>,
    /// Trained tokens of the whole step.
    pub step_tokens: usize,
    /// Examples of the whole step.
    pub step_examples: usize,
    /// Whether this is the last micro-batch of its step.
    pub ends_step: bool,
}

impl Batch {
    /// One example a row.
    pub fn new(examples: &[&Example]) -> Self {
        Self::packed(&examples.iter().map(|&example| vec![example]).collect::<Vec<_>>())
    }

    /// Several examples a row. The last token of an example predicts nothing and is left out, so that no position predicts
    /// across the border of two examples.
    pub fn packed(rows: &[Vec<&Example>]) -> Self {
        let segments: Vec<Vec<usize>> =
            rows.iter().map(|row| row.iter().map(|example| example.ids.len() - 1).collect()).collect();
        let seq = segments.iter().map(|row| row.iter().sum()).max().unwrap_or(0);
        let mut batch = Self {
            ids: Vec::with_capacity(seq * rows.len()),
            rows: rows.len(),
            segments,
            positions: Vec::new(),
            targets: Vec::new(),
            examples: (0..rows.iter().map(Vec::len).sum()).collect(),
            step_tokens: 0,
            step_examples: rows.iter().map(Vec::len).sum(),
            ends_step: true,
        };
        for (row, examples) in rows.iter().enumerate() {
            for example in examples {
                batch.push(example);
            }
            batch.ids.resize((row + 1) * seq, 0);
        }
        batch.step_tokens = batch.targets.len();
        batch
    }

    fn push(&mut self, example: &Example) {
        let start = self.ids.len();
        for next in (1..example.ids.len()).filter(|&next| example.loss_mask[next]) {
            self.positions.push((start + next - 1) as u32);
            self.targets.push(example.ids[next]);
        }
        self.ids.extend_from_slice(&example.ids[..example.ids.len() - 1]);
    }

    /// The row of each trained position.
    pub(crate) fn position_rows(&self) -> Vec<usize> {
        let seq = self.ids.len() / self.rows.max(1);
        self.positions.iter().map(|&position| position as usize / seq).collect()
    }

    /// Token ids, shape `[rows, seq]`.
    pub fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        token_tensor(&self.ids, self.rows, device)
    }

    /// Indices of the trained positions, shape `[n]`.
    pub fn position_tensor(&self, device: &Device) -> Tensor<1, Int> {
        index_tensor(&self.positions, device)
    }

    /// The left padding of the rows: none.
    pub(crate) fn no_padding(&self) -> Vec<usize> {
        vec![0; self.rows]
    }

    /// Tokens to predict there, shape `[n]`.
    pub fn target_tensor(&self, device: &Device) -> Tensor<1, Int> {
        index_tensor(&self.targets, device)
    }
}

/// An empty cache for reading a batch: it knows where each example begins, so that none sees another.
pub(crate) fn segmented(mut cache: LayerCache, batch: &Batch) -> LayerCache {
    cache.segment(&batch.segments).expect("a batch has a list of lengths for each row");
    cache
}

/// Ids or positions as a tensor `[n]`.
pub(crate) fn index_tensor(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    token_tensor(ids, 1, device).reshape([-1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(first: u32, len: u32) -> Example {
        Example { ids: (first..first + len).collect(), loss_mask: (0..len).map(|i| i >= len / 2).collect() }
    }

    #[test]
    fn positions_predict_the_trained_tokens() {
        let batch = Batch::new(&[&example(0, 4), &example(100, 2)]);
        assert_eq!(batch.ids, [0, 1, 2, 100, 0, 0]);
        assert_eq!(batch.positions, [1, 2, 3]);
        assert_eq!(batch.targets, [2, 3, 101]);
        assert_eq!(batch.segments, [[3], [1]]);
    }

    #[test]
    fn no_position_predicts_across_the_border_of_two_examples() {
        let all = [example(0, 4), example(100, 2), example(200, 6)];
        let batch = Batch::packed(&[vec![&all[0], &all[1]], vec![&all[2]]]);
        assert_eq!(batch.ids, [0, 1, 2, 100, 0, 200, 201, 202, 203, 204]);
        assert_eq!(batch.segments, [vec![3, 1], vec![5]]);
        assert_eq!(batch.positions, [1, 2, 3, 7, 8, 9]);
        assert_eq!(batch.targets, [2, 3, 101, 203, 204, 205]);
        assert_eq!(batch.step_tokens, 6);
    }
}
