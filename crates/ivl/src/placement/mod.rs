//! Models on several devices: which layers of base and values each device has.
//!
//! A device list (`cuda:0,cuda:1`) places the layers of a base by the memory of the devices; each value is placed as a whole where
//! the base's logits are, unless it is larger than that device's share. A [`ModelDevices`] names the devices of one model instead.

mod device_list;
mod divide;
mod free_memory;
mod model_devices;
mod model_placement;
mod planner;

pub use self::model_devices::ModelDevices;
pub use self::model_placement::{ModelPlacement, PlacedLayers, PlacedModel};
pub(crate) use self::planner::{ModelToPlace, Planner};
