//! The memory of a model's layers, before they are loaded.

use ivl_kernels::PackedFormat;

use super::load::StoredParameters;
use super::open::Checkpoint;
use crate::device_map::PathLayer;
use crate::transformer::packed::Packer;
use crate::{Error, Weights};

/// Bytes of weights in memory, in the order in which a token passes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerBytes {
    /// Embeddings, which serve as the head as well if the two are tied.
    pub embedding: u64,
    /// Each block.
    pub blocks: Vec<u64>,
    /// The last norm, and a head that is not tied.
    pub head: u64,
}

impl LayerBytes {
    /// Bytes of all weights.
    pub fn total(&self) -> u64 {
        self.embedding + self.blocks.iter().sum::<u64>() + self.head
    }
}

impl Checkpoint {
    /// The bytes that each layer takes if weights are kept in this form; no weight is read.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn layer_bytes(&self, weights: Weights) -> Result<LayerBytes, Error> {
        let files = self.tensors()?;
        let parameters = StoredParameters::new(self, &files)?;
        let packer = Packer::new(self.config().embedding.tied);
        let mut sum = LayerBytes { blocks: vec![0; self.config().layers.len()], ..LayerBytes::default() };
        for (path, shape) in parameters.shapes() {
            let stored = parameters.stored(path, shape).map_or(PackedFormat::F32, |stored| stored.format);
            let bytes = bytes_of(path, shape, weights, &packer, stored);
            *match PathLayer::of(path) {
                PathLayer::Embedding => &mut sum.embedding,
                PathLayer::Block(layer) => &mut sum.blocks[layer],
                PathLayer::Head => &mut sum.head,
            } += bytes;
        }
        Ok(sum)
    }
}

/// The bytes of one parameter. `stored` is the format of a matrix that is kept as its file stores it.
fn bytes_of(path: &str, shape: &[usize], weights: Weights, packer: &Packer, stored: PackedFormat) -> u64 {
    let numbers = shape.iter().product::<usize>() as u64;
    let wanted = match weights {
        Weights::Tensors(dtype) => return numbers * dtype.size() as u64,
        Weights::Packed(format) => Some(format),
        Weights::Stored => None,
    };
    match packer.format(path, shape.len(), wanted, stored) {
        Some(PackedFormat::F16) => 2 * numbers,
        Some(PackedFormat::Blocks(blocks)) => {
            numbers.div_ceil(blocks.elements() as u64) * blocks.bytes() as u64
        }
        Some(PackedFormat::F32) | None => 4 * numbers,
    }
}
