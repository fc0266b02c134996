//! The device of each layer of a network.

use burn::tensor::Device;

use crate::config::{KeySource, ModelConfig};
use crate::{Error, Weights};

/// The devices of a network, in the order in which a token passes them, and the first block on each.
///
/// Embeddings are on the first device. The last norm is on the last device, with the head; a head that is the transposed
/// embedding stays with the embedding, so that a tied matrix is in memory once, and hidden states move back to it.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use ivl_models::{DeviceMap, Weights};
///
/// // Blocks 0 to 15 on one device, the others on another, which keeps its weights in half precision.
/// let map = DeviceMap::single(&Device::flex(), DType::F32).then(16, &Device::flex(), DType::F16);
/// assert_eq!(map.parts()[1].first_layer, 16);
/// ```
#[derive(Debug, Clone)]
pub struct DeviceMap {
    parts: Vec<DevicePart>,
}

/// The part of a network on one device: its blocks up to the first block of the next part.
#[derive(Debug, Clone)]
pub struct DevicePart {
    /// The index of its first block.
    pub first_layer: usize,
    /// The device.
    pub device: Device,
    /// How weights are kept there.
    pub weights: Weights,
}

impl DeviceMap {
    /// One device for all layers.
    pub fn single(device: &Device, weights: impl Into<Weights>) -> Self {
        let part = DevicePart { first_layer: 0, device: device.clone(), weights: weights.into() };
        Self { parts: vec![part] }
    }

    /// The same map up to a block, and another device for this block and all after it.
    #[must_use]
    pub fn then(mut self, first_layer: usize, device: &Device, weights: impl Into<Weights>) -> Self {
        self.parts.push(DevicePart { first_layer, device: device.clone(), weights: weights.into() });
        self
    }

    /// The parts, in order; at least one.
    pub fn parts(&self) -> &[DevicePart] {
        &self.parts
    }

    /// Refuses a map that gives a device no block of a network, or divides the network where it cannot be divided.
    ///
    /// # Errors
    /// [`Error::DeviceMap`].
    pub fn check(&self, config: &ModelConfig) -> Result<(), Error> {
        let layers = config.layers.len();
        for (before, part) in self.parts.iter().zip(&self.parts[1..]) {
            let first = part.first_layer;
            if first <= before.first_layer || first >= layers {
                let expected = format!("a block between {} and {layers}", before.first_layer);
                return Err(Error::DeviceMap { first, expected });
            }
            if !config.divides_before(first) {
                let expected = "a block before which no layer has keys that a later one uses".to_owned();
                return Err(Error::DeviceMap { first, expected });
            }
        }
        Ok(())
    }

    /// The index of the part that has a parameter.
    pub(crate) fn part_of(&self, path: &str) -> usize {
        match PathLayer::of(path) {
            PathLayer::Embedding => 0,
            PathLayer::Block(layer) => self.part_of_layer(layer),
            PathLayer::Head => self.parts.len() - 1,
        }
    }

    /// The index of the part that has a block.
    pub(crate) fn part_of_layer(&self, layer: usize) -> usize {
        self.parts.partition_point(|part| part.first_layer <= layer) - 1
    }
}

/// The layer of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathLayer {
    /// Embeddings, and what all blocks read of them.
    Embedding,
    /// A block, by its index.
    Block(usize),
    /// The last norm, and a head that is not tied.
    Head,
}

impl PathLayer {
    /// That of a path.
    pub(crate) fn of(path: &str) -> Self {
        let mut names = path.split('.');
        match (names.next(), names.next().and_then(|layer| layer.parse().ok())) {
            (Some("blocks"), Some(layer)) => Self::Block(layer),
            (Some("norm" | "head"), _) => Self::Head,
            _ => Self::Embedding,
        }
    }
}

impl ModelConfig {
    /// Whether a block and all after it can be on another device than the blocks before: not if one of them attends to the keys
    /// and values of a block before, which are cached on that block's device.
    pub fn divides_before(&self, layer: usize) -> bool {
        let reaches_back = |keys: KeySource| matches!(keys, KeySource::Layer(earlier) if earlier < layer);
        !self.layers.iter().skip(layer).any(|later| reaches_back(later.keys))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;

    #[test]
    fn a_parameter_is_where_its_layer_is() {
        let device = Device::flex();
        let map =
            DeviceMap::single(&device, DType::F32).then(2, &device, DType::F16).then(3, &device, DType::F32);
        let expected = [
            ("embedding.weight", 0),
            ("position_embedding.weight", 0),
            ("layer_inputs.projection.weight", 0),
            ("blocks.0.mlp.up.weight", 0),
            ("blocks.1.mlp.up.weight", 0),
            ("blocks.2.mlp.up.weight", 1),
            ("blocks.3.attention.query.lora.down", 2),
            ("blocks.11.attention_norm.weight", 2),
            ("norm.weight", 2),
            ("head.weight", 2),
        ];
        for (path, part) in expected {
            assert_eq!(map.part_of(path), part, "{path}");
        }
    }
}
