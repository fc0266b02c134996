//! The state of one recurrent layer.

use burn::tensor::Tensor;

use super::LayerShape;
use crate::tokens::index_tensor;

/// What a recurrent layer keeps of the text: as much after a thousand positions as after one, and nothing from which an earlier
/// state could be made again. Empty before the first position.
#[derive(Debug, Clone, Default)]
pub struct RecurrentState {
    /// The last inputs of a causal convolution, shape `[batch, kernel - 1, channels]`.
    pub tail: Option<Tensor<3>>,
    /// What keys recall, shape `[batch, heads, key_dim, value_dim]`, in f32.
    pub memory: Option<Tensor<4>>,
}

impl RecurrentState {
    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.tail.is_none() && self.memory.is_none()
    }

    pub(super) fn shape(&self) -> LayerShape {
        LayerShape::State {
            tail: self.tail.as_ref().map(|tail| {
                let [_, len, channels] = tail.dims();
                [len, channels]
            }),
            memory: self.memory.as_ref().map(|memory| {
                let [_, heads, key_dim, value_dim] = memory.dims();
                [heads, key_dim, value_dim]
            }),
        }
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        self.tail = self.tail.take().map(|tail| pick(tail, rows));
        self.memory = self.memory.take().map(|memory| pick(memory, rows));
    }

    /// Adds the rows of another state.
    pub(super) fn join(&mut self, other: Self) {
        self.tail = self.tail.take().zip(other.tail).map(|(own, more)| Tensor::cat(vec![own, more], 0));
        self.memory = self.memory.take().zip(other.memory).map(|(own, more)| Tensor::cat(vec![own, more], 0));
    }

    pub(super) fn bytes(&self) -> usize {
        self.tail.as_ref().map_or(0, bytes) + self.memory.as_ref().map_or(0, bytes)
    }
}

fn pick<const D: usize>(tensor: Tensor<D>, rows: &[usize]) -> Tensor<D> {
    let index = index_tensor(rows, &tensor.device());
    tensor.select(0, index)
}

fn bytes<const D: usize>(tensor: &Tensor<D>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}
