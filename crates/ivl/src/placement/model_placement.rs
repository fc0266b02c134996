//! The devices of one model.

use std::fmt;
use std::ops::Range;

use burn::tensor::Device;
use ivl_models::{DeviceMap, Weights};

use crate::device::Placement;

/// The devices of one model in the order of its layers, and the layers of each.
#[derive(Debug, Clone)]
pub struct ModelPlacement {
    parts: Vec<PlacedLayers>,
}

/// The layers of a model on one device.
#[derive(Debug, Clone)]
pub struct PlacedLayers {
    /// The device.
    pub placement: Placement,
    /// Its first layer; the first layer of the next device ends it.
    pub first_layer: usize,
    /// Bytes of weights there, if layers were placed by memory.
    pub bytes: Option<u64>,
}

impl ModelPlacement {
    /// Layers on devices, in order; at least one part.
    pub(super) fn new(parts: Vec<PlacedLayers>) -> Self {
        Self { parts }
    }

    /// The devices with their layers, in order; at least one.
    pub fn parts(&self) -> &[PlacedLayers] {
        &self.parts
    }

    /// The device that has the head of a model, on which its logits are: the first if the head is tied to the embeddings, else the
    /// last.
    pub(crate) fn of_head(&self, is_tied: bool) -> &Placement {
        let part = if is_tied { 0 } else { self.parts.len() - 1 };
        &self.parts[part].placement
    }

    /// How weights are kept, in each part.
    pub(crate) fn weights(&self) -> Vec<Weights> {
        self.parts.iter().map(|part| part.placement.weights).collect()
    }

    /// The map by which a checkpoint is loaded.
    pub(crate) fn device_map(&self) -> DeviceMap {
        let on = |part: &PlacedLayers| -> (usize, Device, Weights) {
            (part.first_layer, part.placement.device.clone(), part.placement.weights)
        };
        let (_, device, weights) = on(&self.parts[0]);
        let first = DeviceMap::single(&device, weights);
        self.parts[1..]
            .iter()
            .map(on)
            .fold(first, |map, (layer, device, weights)| map.then(layer, &device, weights))
    }

    /// Whether the same layers are on the same devices in the same form.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&PlacedLayers, &PlacedLayers)| {
            one.first_layer == other.first_layer
                && one.placement.device == other.placement.device
                && one.placement.weights == other.placement.weights
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(same)
    }
}

impl From<Placement> for ModelPlacement {
    /// All layers on one device.
    fn from(placement: Placement) -> Self {
        Self { parts: vec![PlacedLayers { placement, first_layer: 0, bytes: None }] }
    }
}

impl From<&Placement> for ModelPlacement {
    fn from(placement: &Placement) -> Self {
        placement.clone().into()
    }
}

impl From<&ModelPlacement> for ModelPlacement {
    fn from(placement: &ModelPlacement) -> Self {
        placement.clone()
    }
}

/// The device map of a model that is about to be loaded. As text it is one line:
///
/// ```text
/// `small`: cuda:0 has the embedding and layers 0 to 15 (3.2 GiB), cuda:1 has layers 16 to 31 and the head (3.1 GiB)
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlacedModel<'a> {
    /// The directory or file of the model.
    pub model: &'a str,
    /// Its devices.
    pub placement: &'a ModelPlacement,
    /// The number of its layers.
    pub layers: usize,
    /// Whether its head is the transposed embedding, which is then used on the first device.
    pub is_tied: bool,
}

impl<'a> PlacedModel<'a> {
    pub(crate) fn new(model: &'a str, placement: &'a ModelPlacement, layers: usize, is_tied: bool) -> Self {
        Self { model, placement, layers, is_tied }
    }

    /// The layers of a part.
    fn layers(&self, part: usize) -> Range<usize> {
        let parts = self.placement.parts();
        let end = parts.get(part + 1).map_or(self.layers, |next| next.first_layer);
        parts[part].first_layer..end
    }
}

impl fmt::Display for PlacedModel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: ", self.model)?;
        let parts = self.placement.parts();
        if let [part] = parts {
            return write!(
                f,
                "{} has all {} layers, as {}",
                part.placement.name(),
                self.layers,
                part.placement.dtype_name()
            );
        }
        for (index, part) in parts.iter().enumerate() {
            let (separator, layers) = (if index == 0 { "" } else { ", " }, self.layers(index));
            write!(f, "{separator}{} has ", part.placement.name())?;
            if index == 0 {
                f.write_str(if self.is_tied { "embedding, head and " } else { "the embedding and " })?;
            }
            match layers.len() {
                1 => write!(f, "layer {}", layers.start)?,
                _ => write!(f, "layers {} to {}", layers.start, layers.end - 1)?,
            }
            if index + 1 == parts.len() {
                f.write_str(if self.is_tied { " and the last norm" } else { " and the head" })?;
            }
            write!(f, ", as {}", part.placement.dtype_name())?;
            if let Some(bytes) = part.bytes {
                write!(f, " ({:.1} MiB)", bytes as f64 / f64::from(1 << 20))?;
            }
        }
        Ok(())
    }
}
