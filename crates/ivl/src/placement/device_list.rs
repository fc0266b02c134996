//! Lists of devices, as users write them.

use super::free_memory::free_bytes;
use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};

/// A device of a list, and the number of layers that it is to have, if the list says it.
#[derive(Debug, Clone)]
pub(super) struct ListedDevice {
    pub(super) placement: Placement,
    pub(super) layers: Option<usize>,
    /// Its free memory in bytes, if it tells.
    pub(super) free: Option<u64>,
}

impl ListedDevice {
    fn new(name: &str, layers: Option<usize>, dtype: Dtype) -> Result<Self> {
        Ok(Self { placement: Placement::new(name, dtype)?, layers, free: free_bytes(name) })
    }
}

/// Devices in the order of the layers; at least one.
#[derive(Debug, Clone)]
pub(super) struct DeviceList {
    /// As it was written.
    pub(super) text: String,
    pub(super) devices: Vec<ListedDevice>,
}

impl DeviceList {
    /// Reads `DEVICE,..` or `LAYERS@DEVICE,..`.
    ///
    /// # Errors
    /// [`Error::DeviceList`], and as [`Placement::new`].
    pub(super) fn parse(text: &str, dtype: Dtype) -> Result<Self> {
        let devices = text.split(',').map(|item| listed(text, item, dtype)).collect::<Result<Vec<_>>>()?;
        let list = Self { text: text.to_owned(), devices };
        for (index, one) in list.devices.iter().enumerate() {
            let same = |other: &&ListedDevice| other.placement.device == one.placement.device;
            if let Some(other) = list.devices[index + 1..].iter().find(same) {
                let (first, second) = (one.placement.name(), other.placement.name());
                let reason = if first == second {
                    format!("`{first}` occurs twice")
                } else {
                    format!("`{first}` and `{second}` are one device")
                };
                return Err(list.refused(reason + "; expected each device once"));
            }
        }
        let counted = list.devices.iter().filter(|device| device.layers.is_some()).count();
        if counted != 0 && counted != list.devices.len() {
            let reason =
                format!("{counted} of {} devices have a number of layers; expected all or none", list.len());
            return Err(list.refused(reason));
        }
        Ok(list)
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn first(&self) -> &Placement {
        &self.devices[0].placement
    }

    pub(super) fn last(&self) -> &Placement {
        &self.devices[self.len() - 1].placement
    }

    /// The free memory of each device, or 1 of each if one of them does not tell: layers are then placed as if all had as much.
    pub(super) fn free(&self) -> Vec<f64> {
        let known: Option<Vec<f64>> = self
            .devices
            .iter()
            .map(|device| device.free.filter(|&free| free > 0).map(|free| free as f64))
            .collect();
        known.unwrap_or_else(|| vec![1.0; self.len()])
    }

    /// An error about this list.
    pub(super) fn refused(&self, reason: String) -> Error {
        Error::DeviceList { list: self.text.clone(), reason }
    }
}

fn listed(list: &str, item: &str, dtype: Dtype) -> Result<ListedDevice> {
    let Some((layers, name)) = item.split_once('@') else {
        return ListedDevice::new(item, None, dtype);
    };
    match layers.parse() {
        Ok(layers) if layers > 0 => ListedDevice::new(name, Some(layers), dtype),
        _ => Err(Error::DeviceList {
            list: list.to_owned(),
            reason: format!("`{item}` has `{layers}` layers; expected a whole number above 0 before the @"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        DeviceList::parse(text, Dtype::Auto).expect_err("is wrong").to_string()
    }

    #[test]
    fn lists_that_cannot_be_meant_are_refused() {
        assert!(refused("cpu,cpu").contains("`cpu,cpu`: `cpu` occurs twice; expected each device once"));
        assert!(refused("3@cpu,1@cpu").contains("`cpu` occurs twice"));
        assert!(refused("0@cpu").contains("`0@cpu` has `0` layers"));
        assert!(refused("cpu,tpu").contains("the device is `tpu`, expected auto, cpu"));
        assert!(refused("cpu,").contains("the device is ``"));
    }

    #[test]
    fn numbers_of_layers_stand_before_their_devices() {
        let list = DeviceList::parse("4@cpu", Dtype::Auto).expect("one device");
        assert_eq!((list.devices[0].layers, list.first().name()), (Some(4), "cpu"));
    }
}
