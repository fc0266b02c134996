//! The devices of a run: the one that learns, and those that share its passes.

use anyhow::{Result, bail};
use burn::tensor::Device;
use ivl_models::Checkpoint;
use ivl_train::{FrozenBase, TrainConfig, Worker};

use super::bases::{NamedBase, OpenBase, bases_of};
use super::parts::value_source;
use crate::args::Common;
use crate::device::dtype;

/// A device to learn on.
pub fn autodiff(device: &Device, config: &TrainConfig) -> Device {
    let device = device.clone().autodiff();
    if config.steps.gradient_checkpointing { device.gradient_checkpointing() } else { device }
}

/// Further devices, each of which loads the bases for itself.
pub fn workers(devices: &[Device], config: &TrainConfig, common: &Common) -> Result<Vec<Worker>> {
    if config.base_logits.is_some() && !devices.is_empty() {
        bail!(
            "`base_logits` is for one device: several devices load the bases; take it out, or name one --device"
        );
    }
    let worker = |device: &Device| {
        let (config, on) = (config.clone(), device.clone());
        let common = Common { quiet: true, ..common.clone() };
        let learning = autodiff(device, &config);
        let load = move || load_bases(&config, &on, &common).map_err(|error| format!("{error:#}"));
        Worker { device: learning, bases: Box::new(load) }
    };
    Ok(devices.iter().map(worker).collect())
}

/// The bases once more. They were found and checked when they were loaded for the first device.
fn load_bases(config: &TrainConfig, device: &Device, common: &Common) -> Result<Vec<FrozenBase>> {
    let value = Checkpoint::open(&value_source(config)?)?;
    let vocab = value.vocab(&value.tokenizer()?)?;
    let load = |base: NamedBase<'_>| Ok(OpenBase::open(base, &vocab)?.load(device, dtype(common), common)?.0);
    bases_of(config).into_iter().map(load).collect()
}
