//! Devices of one model, named by hand.

use std::str::FromStr;

use crate::error::{Error, Result};

/// The devices of one model: of the base, of all values, or of the value with a name.
///
/// ```
/// let place: ivl::ModelDevices = "base=20@cuda:0,12@cuda:1".parse()?;
/// assert_eq!((place.model.as_str(), place.devices.as_str()), ("base", "20@cuda:0,12@cuda:1"));
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDevices {
    /// `base`, `value`, or the name of a value.
    pub model: String,
    /// A device, or several separated by commas, in the order of the layers. `N@` before a device is the number of layers there;
    /// without numbers layers are placed by memory.
    pub devices: String,
}

impl ModelDevices {
    /// The base's.
    pub const BASE: &str = "base";

    /// That of every value that has no place of its own.
    pub const VALUE: &str = "value";
}

impl FromStr for ModelDevices {
    type Err = Error;

    /// Reads `MODEL=DEVICES`.
    ///
    /// # Errors
    /// [`Error::InvalidPlace`].
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((model, devices)) if !model.is_empty() && !devices.is_empty() => {
                Ok(Self { model: model.to_owned(), devices: devices.to_owned() })
            }
            _ => Err(Error::InvalidPlace { got: text.to_owned() }),
        }
    }
}
