//! The devices of a base and its values, before their weights are loaded.

use std::collections::HashMap;

use ivl_models::{Checkpoint, LayerBytes};

use super::device_list::DeviceList;
use super::divide::{Budget, divide};
use super::model_devices::ModelDevices;
use super::model_placement::{ModelPlacement, PlacedLayers};
use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};

/// A model whose layers are to be placed.
#[derive(Clone, Copy)]
pub(crate) struct ModelToPlace<'a> {
    /// The name that a [`ModelDevices`] and messages call it by.
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
    pub(crate) fn new(devices: &str, places: &[ModelDevices], dtype: Dtype) -> Result<Self> {
        let mut lists: Vec<(String, DeviceList)> = Vec::with_capacity(places.len());
        for ModelDevices { model, devices } in places {
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
        let known: Vec<&str> = [ModelDevices::BASE, ModelDevices::VALUE].into_iter().chain(values).collect();
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
        let list = self.list_of(ModelDevices::BASE).unwrap_or(&self.devices).clone();
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
        let free = self.devices.free();
        let mut listed = self.devices.devices.iter().zip(&free);
        let own = listed.find(|(listed, _)| listed.placement.name() == device.name()).map(|(_, free)| *free);
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
        let free = list.free();
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
        let own =
            Some(value).filter(|&value| value != ModelDevices::BASE).and_then(|value| self.list_of(value));
        own.or_else(|| self.list_of(ModelDevices::VALUE))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::device_list::ListedDevice;
    use super::*;

    /// A model of the repository.
    fn model(path: &str) -> Checkpoint {
        Checkpoint::open(&Path::new("..").join(path)).expect("opens")
    }

    /// Three layers, tied.
    fn tied() -> Checkpoint {
        model("../examples/first-value/large")
    }

    /// Four layers, not tied.
    fn untied() -> Checkpoint {
        model("ivl-demo-models/models/other")
    }

    /// Devices that are not there, with free memory.
    fn list(devices: &[(&str, u64)]) -> DeviceList {
        let device = |&(name, free): &(&str, u64)| ListedDevice {
            placement: Placement::pretended(name),
            layers: None,
            free: Some(free),
        };
        let text = devices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
        DeviceList { text, devices: devices.iter().map(device).collect() }
    }

    fn planner(devices: DeviceList, places: Vec<(&str, DeviceList)>) -> Planner {
        let places = places.into_iter().map(|(model, list)| (model.to_owned(), list)).collect();
        Planner { devices, places, used: HashMap::new() }
    }

    fn base(checkpoint: &Checkpoint) -> ModelToPlace<'_> {
        ModelToPlace { name: ModelDevices::BASE, checkpoint }
    }

    fn value(checkpoint: &Checkpoint) -> ModelToPlace<'_> {
        ModelToPlace { name: "polite", checkpoint }
    }

    /// Devices with the first layer of each.
    fn shown(placement: &ModelPlacement) -> Vec<(&str, usize)> {
        placement.parts().iter().map(|part| (part.placement.name(), part.first_layer)).collect()
    }

    #[test]
    fn layers_of_a_base_are_placed_by_free_memory() {
        let (even, uneven) = (list(&[("a", 100), ("b", 100)]), list(&[("a", 100), ("b", 300)]));
        let place = |list| planner(list, Vec::new()).place(base(&untied()), &[]).expect("places").0;
        assert_eq!(shown(&place(even)), [("a", 0), ("b", 2)]);
        let placed = place(uneven);
        assert_eq!(shown(&placed), [("a", 0), ("b", 1)]);
        let bytes: u64 = placed.parts().iter().map(|part| part.bytes.expect("are counted")).sum();
        assert_eq!(bytes, untied().layer_bytes(placed.parts()[0].placement.weights).expect("fits").total());
    }

    #[test]
    fn a_value_is_where_the_logits_of_the_base_are() {
        let devices = || planner(list(&[("a", 100), ("b", 100)]), Vec::new());
        let small = model("../examples/first-value/small");
        let (_, values) = devices().place(base(&untied()), &[Some(value(&small))]).expect("places");
        assert_eq!(shown(&values[0]), [("b", 0)], "with the head");
        let (placed, values) = devices().place(base(&tied()), &[Some(value(&small)), None]).expect("places");
        assert_eq!(shown(&values[0]), [("a", 0)], "with the embedding, which is the head");
        assert_eq!(shown(&values[1]), shown(&placed), "adapters share the weights of the base");
        let mut later = devices();
        let (placed, _) = later.place(base(&untied()), &[]).expect("places");
        let attached = later.place_value(value(&small), placed.of_head(false)).expect("places");
        assert_eq!(shown(&attached), [("b", 0)]);
    }

    #[test]
    fn a_value_beyond_the_share_of_a_device_is_divided() {
        let four = list(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]);
        let (_, values) =
            planner(four, Vec::new()).place(base(&untied()), &[Some(value(&untied()))]).expect("places");
        assert_eq!(shown(&values[0]), [("a", 0), ("b", 1), ("c", 2), ("d", 3)]);
    }

    #[test]
    fn models_have_the_devices_that_are_named_for_them() {
        let one = |name| list(&[(name, 100)]);
        let places =
            || vec![("base", list(&[("b", 100), ("c", 100)])), ("value", one("d")), ("polite", one("e"))];
        let (placed, values) =
            planner(one("a"), places()).place(base(&untied()), &[Some(value(&tied()))]).expect("places");
        assert_eq!(shown(&placed), [("b", 0), ("c", 2)]);
        assert_eq!(shown(&values[0]), [("e", 0)]);
        let planner = planner(one("a"), places());
        assert!(planner.has_place("polite") && planner.has_place("another"));
        assert!(planner.check_names(["polite"].into_iter()).is_ok());
        let refused = planner.check_names(["rude"].into_iter()).expect_err("no such value").to_string();
        assert_eq!(refused, "devices are named for `polite`, expected one of base, value, rude");
    }

    #[test]
    fn numbers_of_layers_are_followed() {
        let counted = |counts: [usize; 2]| {
            let mut devices = list(&[("a", 100), ("b", 100)]);
            devices.devices.iter_mut().zip(counts).for_each(|(device, count)| device.layers = Some(count));
            planner(devices, Vec::new()).place(base(&untied()), &[])
        };
        assert_eq!(shown(&counted([3, 1]).expect("places").0), [("a", 0), ("b", 3)]);
        let refused = counted([3, 2]).expect_err("one too many").to_string();
        assert_eq!(refused, "the device list is `a,b`: it names devices for 5 layers, but `base` has 4");
    }

    #[test]
    fn models_that_cannot_be_divided_so_are_refused() {
        let many = list(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let refused =
            planner(many, Vec::new()).place(base(&tied()), &[]).expect_err("three layers").to_string();
        assert!(
            refused.contains("it has 4 devices, but `base` has 3 layers; expected at most 3 devices"),
            "{refused}"
        );
        let shared = model("ivl-models/tests/fixtures/gemma4_text");
        let layers = shared.config().layers.len();
        assert!((1..layers).any(|layer| !shared.config().divides_before(layer)), "layers share keys");
        let names: Vec<String> = (0..layers).map(|device| format!("d{device}")).collect();
        let devices: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let refused = planner(list(&devices), Vec::new()).place(base(&shared), &[]).expect_err("shares keys");
        assert!(
            refused.to_string().contains("layers of `base` use keys and values of earlier layers"),
            "{refused}"
        );
    }
}
