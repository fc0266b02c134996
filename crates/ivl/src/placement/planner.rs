//! The devices of a base and its values, before their weights are loaded.

use std::collections::HashMap;

use ivl_models::{Checkpoint, LayerBytes};

use super::device_list::DeviceList;
use super::divide::{Budget, divide};
use super::free_memory::free_memory;
use super::model_placement::{ModelPlacement, PlacedLayers};
use super::place::Place;
use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};

/// A model whose layers are to be placed.
#[derive(Clone, Copy)]
pub(crate) struct ModelToPlace<'a> {
    /// The name that a [`Place`] and messages call it by.
    pub(crate) name: &'a str,
    /// Its weights.
    pub(crate) checkpoint: &'a Checkpoint,
}

/// Places models on devices, and counts the memory of those that it has placed.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    devices: DeviceList,
    places: Vec<(String, DeviceList)>,
    /// Bytes of the models placed so far, by the name of the device.
    used: HashMap<String, u64>,
}

impl Planner {
    /// For a device list, and places of models that are not placed by it.
    ///
    /// # Errors
    /// As [`DeviceList::parse`]; [`Error::InvalidPlace`] for a model that has two places.
    pub(crate) fn new(devices: &str, places: &[Place], dtype: Dtype) -> Result<Self> {
        let mut lists: Vec<(String, DeviceList)> = Vec::with_capacity(places.len());
        for Place { model, devices } in places {
            if lists.iter().any(|(other, _)| other == model) {
                return Err(Error::InvalidPlace {
                    got: format!("{model}={devices}` beside another `{model}"),
                });
            }
            lists.push((model.clone(), DeviceList::parse(devices, dtype)?));
        }
        Ok(Self { devices: DeviceList::parse(devices, dtype)?, places: lists, used: HashMap::new() })
    }

    /// Refuses places of models that are not there.
    ///
    /// # Errors
    /// [`Error::UnknownPlace`].
    pub(crate) fn check_names<'a>(&self, values: impl Iterator<Item = &'a str>) -> Result<()> {
        let known: Vec<&str> = [Place::BASE, Place::VALUE].into_iter().chain(values).collect();
        match self.places.iter().find(|(model, _)| !known.contains(&model.as_str())) {
            Some((model, _)) => {
                let known = known.into_iter().map(str::to_owned).collect();
                Err(Error::UnknownPlace { model: model.clone(), known })
            }
            None => Ok(()),
        }
    }

    /// Places a base and the models of values. A model that is `None` shares the base's weights, and is where the base is.
    ///
    /// # Errors
    /// [`Error::DeviceList`] for a model that cannot be divided among its devices; errors of its files.
    pub(crate) fn place(
        &mut self,
        base: ModelToPlace<'_>,
        values: &[Option<ModelToPlace<'_>>],
    ) -> Result<(ModelPlacement, Vec<ModelPlacement>)> {
        let list = self.list_of(Place::BASE).unwrap_or(&self.devices).clone();
        // Values first: the base's layers then fill what they leave of each device.
        let home = if base.checkpoint.config().embedding.tied { list.first() } else { list.last() };
        let base_bytes = self.bytes_if_needed(base, home)?;
        let mut placed = Vec::with_capacity(values.len());
        for value in values {
            placed.push(match value {
                Some(value) => Some(self.place_beside(*value, home, base_bytes)?),
                None => None,
            });
        }
        let base = self.divide_among(base, &list)?;
        let values = placed.into_iter().map(|value| value.unwrap_or_else(|| base.clone())).collect();
        Ok((base, values))
    }

    /// Places a value beside a base whose logits are on the device `home`.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub(crate) fn place_value(
        &mut self,
        value: ModelToPlace<'_>,
        home: &Placement,
    ) -> Result<ModelPlacement> {
        self.place_beside(value, home, 0)
    }

    /// Whether the value of a name has devices of its own.
    pub(crate) fn has_place(&self, value: &str) -> bool {
        self.list_of_value(value).is_some()
    }

    /// Places a value; `more` bytes of other models are not placed yet.
    fn place_beside(
        &mut self,
        value: ModelToPlace<'_>,
        home: &Placement,
        more: u64,
    ) -> Result<ModelPlacement> {
        if let Some(list) = self.list_of_value(value.name).cloned() {
            return self.divide_among(value, &list);
        }
        let bytes = self.bytes_if_needed(value, home)?;
        let is_small = self.is_within_share(home, bytes, more);
        if !is_small && let Ok(divided) = self.divide_among(value, &self.devices.clone()) {
            return Ok(divided);
        }
        self.count(home.name(), bytes);
        Ok(home.into())
    }

    /// Whether a model takes no more than a device's share of all models.
    fn is_within_share(&self, device: &Placement, bytes: u64, more: u64) -> bool {
        let names = self.devices.devices.iter().map(|listed| &listed.placement);
        let free = free_memory(names.clone());
        let own = names.zip(&free).find(|(listed, _)| listed.device == device.device).map(|(_, free)| *free);
        let (all, total) = (self.used.values().sum::<u64>() + bytes + more, free.iter().sum::<f64>());
        // A device outside of the list was named by hand.
        own.is_none_or(|own| bytes as f64 / own <= all as f64 / total)
    }

    /// The bytes of a model, if there is a choice of devices that depends on them.
    fn bytes_if_needed(&self, model: ModelToPlace<'_>, device: &Placement) -> Result<u64> {
        if self.devices.len() == 1 && self.places.is_empty() {
            return Ok(0);
        }
        Ok(layer_bytes(model, device)?.total())
    }

    /// Divides a model among devices.
    fn divide_among(&mut self, model: ModelToPlace<'_>, list: &DeviceList) -> Result<ModelPlacement> {
        let config = model.checkpoint.config();
        let layers = config.layers.len();
        let counts: Option<Vec<usize>> = list.devices.iter().map(|device| device.layers).collect();
        if let Some(counts) = &counts
            && counts.iter().sum::<usize>() != layers
        {
            let sum: usize = counts.iter().sum();
            let reason = format!("it names devices for {sum} layers, but `{}` has {layers}", model.name);
            return Err(list.refused(reason));
        }
        if list.len() == 1 {
            let bytes = self.bytes_if_needed(model, list.first())?;
            self.count(list.first().name(), bytes);
            return Ok(list.first().into());
        }
        if list.len() > layers {
            let reason = format!(
                "it has {} devices, but `{}` has {layers} layers; expected at most {layers} devices",
                list.len(),
                model.name
            );
            return Err(list.refused(reason));
        }
        let budgets = self.budgets(model, list)?;
        let firsts = match counts {
            Some(counts) => Some(firsts_of(&counts)),
            None => divide(&budgets, |layer| config.divides_before(layer)),
        };
        let divides = |firsts: &Vec<usize>| firsts[1..].iter().all(|&first| config.divides_before(first));
        let Some(firsts) = firsts.filter(divides) else { return Err(indivisible(model, list)) };
        let mut parts = Vec::with_capacity(list.len());
        for (index, (device, budget)) in list.devices.iter().zip(&budgets).enumerate() {
            let end = firsts.get(index + 1).copied().unwrap_or(layers);
            let bytes = budget.bytes_of(firsts[index], end);
            self.count(device.placement.name(), bytes);
            parts.push(PlacedLayers {
                placement: device.placement.clone(),
                first_layer: firsts[index],
                bytes: Some(bytes),
            });
        }
        Ok(ModelPlacement::new(parts))
    }

    fn budgets(&self, model: ModelToPlace<'_>, list: &DeviceList) -> Result<Vec<Budget>> {
        let free = free_memory(list.devices.iter().map(|device| &device.placement));
        let budget = |(device, free): (&Placement, f64)| {
            let used = self.used.get(device.name()).copied().unwrap_or(0);
            Ok(Budget { free, used, bytes: layer_bytes(model, device)? })
        };
        list.devices.iter().map(|device| &device.placement).zip(free).map(budget).collect()
    }

    fn count(&mut self, device: &str, bytes: u64) {
        *self.used.entry(device.to_owned()).or_default() += bytes;
    }

    fn list_of(&self, model: &str) -> Option<&DeviceList> {
        self.places.iter().find(|(of, _)| of == model).map(|(_, list)| list)
    }

    fn list_of_value(&self, value: &str) -> Option<&DeviceList> {
        // `base` is the base's, whatever a value is called.
        let own = Some(value).filter(|&value| value != Place::BASE).and_then(|value| self.list_of(value));
        own.or_else(|| self.list_of(Place::VALUE))
    }
}

fn layer_bytes(model: ModelToPlace<'_>, device: &Placement) -> Result<LayerBytes> {
    Ok(model.checkpoint.layer_bytes(device.weights)?)
}

/// The first layer of each device, from the number of layers of each.
fn firsts_of(counts: &[usize]) -> Vec<usize> {
    (0..counts.len()).map(|device| counts[..device].iter().sum()).collect()
}

fn indivisible(model: ModelToPlace<'_>, list: &DeviceList) -> Error {
    let config = model.checkpoint.config();
    let places: Vec<String> = (1..config.layers.len())
        .filter(|&layer| config.divides_before(layer))
        .map(|layer| layer.to_string())
        .collect();
    let expected = match places.len() {
        0 => "expected one device".to_owned(),
        _ => format!("expected devices that begin with one of the layers {}", places.join(", ")),
    };
    list.refused(format!(
        "layers of `{}` use keys and values of earlier layers, which have to be on the same device; {expected}",
        model.name
    ))
}
