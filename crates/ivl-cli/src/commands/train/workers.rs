//! The devices of a run: the one that learns, and those that share its passes.

use std::rc::Rc;

use anyhow::Result;
use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, VocabMap};
use ivl_models::Checkpoint;
use ivl_train::{FrozenBase, TrainConfig, Worker};

use super::parts::{bases_of, value_source};
use crate::args::Common;
use crate::hub::resolve;

/// A device to learn on.
pub fn autodiff(device: &Device, config: &TrainConfig) -> Device {
    let device = device.clone().autodiff();
    if config.steps.gradient_checkpointing { device.gradient_checkpointing() } else { device }
}

/// Further devices, each of which loads the bases for itself.
pub fn workers(devices: &[Device], config: &TrainConfig, common: &Common) -> Vec<Worker> {
    let dtype = crate::device::dtype(common);
    let worker = |device: &Device| {
        let (learning, config, on) = (autodiff(device, config), config.clone(), device.clone());
        let load = move || load_bases(&config, &on, dtype).map_err(|error| format!("{error:#}"));
        Worker { device: learning, bases: Box::new(load) }
    };
    devices.iter().map(worker).collect()
}

/// The bases once more. They were found and checked when they were loaded for the first device.
fn load_bases(config: &TrainConfig, device: &Device, dtype: DType) -> Result<Vec<FrozenBase>> {
    let value = Checkpoint::open(&value_source(config)?)?;
    let vocab = value.vocab(&value.tokenizer()?)?;
    let load = |(name, weight): (&str, f64)| {
        let (lm, _) = Checkpoint::open(&resolve(name)?)?.load_lm(device, dtype, &mut |_| ())?;
        let projection = VocabMap::same_ids(lm.vocab(), &vocab)?.on(device);
        Ok(FrozenBase { name: name.to_owned(), lm: Rc::new(lm), projection, weight })
    };
    bases_of(config).into_iter().map(load).collect()
}
