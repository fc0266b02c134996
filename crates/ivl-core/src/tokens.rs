//! Token ids and logits between the host and a device.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Int, Tensor};

use crate::error::Error;
use crate::vocab::Vocab;

/// Several sequences as one left-padded batch.
#[derive(Debug, Clone)]
pub struct PaddedBatch {
    /// Token ids, row-major `[batch, seq]`; padding positions hold id 0, which no row attends to.
    pub ids: Vec<u32>,
    /// Padding at the start of each row.
    pub padding: Vec<usize>,
    /// Length of the longest row.
    pub seq: usize,
}

impl PaddedBatch {
    /// Pads on the left to the longest sequence, after a check of every token.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] for a sequence without tokens, [`Error::TokenOutOfRange`] for an id that has no logit.
    pub fn new<S: AsRef<[u32]>>(sequences: &[S], vocab: &Vocab) -> Result<Self, Error> {
        sequences.iter().try_for_each(|sequence| check_ids(sequence.as_ref(), vocab))?;
        Ok(Self::unchecked(sequences))
    }

    /// Pads on the left to the longest sequence. Sequences may be empty.
    pub fn unchecked<S: AsRef<[u32]>>(sequences: &[S]) -> Self {
        let seq = sequences.iter().map(|sequence| sequence.as_ref().len()).max().unwrap_or(0);
        let mut batch = Self { ids: Vec::with_capacity(seq * sequences.len()), padding: Vec::new(), seq };
        for sequence in sequences.iter().map(AsRef::as_ref) {
            let padding = seq - sequence.len();
            batch.padding.push(padding);
            batch.ids.resize(batch.ids.len() + padding, 0);
            batch.ids.extend_from_slice(sequence);
        }
        batch
    }

    /// Columns `start..end` as a tensor `[batch, end - start]`.
    pub fn columns(&self, start: usize, end: usize, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<u32> =
            self.ids.chunks(self.seq.max(1)).flat_map(|row| &row[start..end]).copied().collect();
        token_tensor(&ids, self.padding.len(), device)
    }

    /// All columns as a tensor `[batch, seq]`.
    pub fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        token_tensor(&self.ids, self.padding.len(), device)
    }
}

/// Token ids, row-major, as a tensor `[batch, seq]`.
pub fn token_tensor(ids: &[u32], batch: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::<1, Int>::from_ints(ids.as_slice(), device).reshape([batch as i64, -1])
}

/// Positions or rows to select, as a tensor `[n]`.
pub fn index_tensor(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
    Tensor::from_ints(indices.as_slice(), device)
}

/// Token ids of a tensor, row-major.
pub fn host_ids<const D: usize>(tokens: Tensor<D, Int>) -> Vec<u32> {
    tokens.into_data().iter().collect()
}

/// The numbers of a float tensor as f32, row-major. The numbers of a tensor without other owners are not copied.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().expect("a tensor that was cast to f32 holds f32")
}

/// Whether the tensors of a device lie in the memory of the host, where kernels read them: those of the CPU backend,
/// without autodiff.
pub fn is_host(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Length of the longest common prefix of two texts.
pub fn shared_prefix_len(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Keeps the items at the given indices, which are in ascending order.
pub fn retain_indices<T>(items: &mut Vec<T>, kept: &[usize]) {
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        kept.binary_search(&(index - 1)).is_ok()
    });
}

/// Refuses an empty prompt and ids without a logit.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::TokenOutOfRange`].
pub fn check_ids(ids: &[u32], vocab: &Vocab) -> Result<(), Error> {
    if ids.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    match ids.iter().position(|&id| id as usize >= vocab.size()) {
        Some(position) => Err(Error::TokenOutOfRange { id: ids[position], position, size: vocab.size() }),
        None => Ok(()),
    }
}
