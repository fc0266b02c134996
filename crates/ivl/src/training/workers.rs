//! The devices of a run: the one that learns, and those that share its micro-batches.

use burn::tensor::Device;
use ivl_train::{FrozenBase, TrainConfig, Worker};

use super::base::{TrainingBase, bases_of};
use super::models::open_value;
use crate::device::Placement;
use crate::error::{Error, Result};
use crate::open_options::OpenOptions;

/// A device to train on.
pub(super) fn autodiff(device: &Device, config: &TrainConfig) -> Device {
    let device = device.clone().autodiff();
    if config.steps.gradient_checkpointing { device.gradient_checkpointing() } else { device }
}

/// Further devices, each of which loads the bases for itself.
pub(super) fn workers(
    placements: &[Placement],
    config: &TrainConfig,
    options: &OpenOptions,
) -> Result<Vec<Worker>> {
    if config.base_logits.is_some() && !placements.is_empty() {
        let reason = "`base_logits` is for one device: several devices load the bases; take it out, or name one device";
        return Err(Error::Settings { reason: reason.to_owned() });
    }
    if config.distill.is_some() && !placements.is_empty() {
        let reason = "`objective = \"distill\"` trains on one device; name one";
        return Err(Error::Settings { reason: reason.to_owned() });
    }
    let worker = |placement: &Placement| {
        let device = autodiff(&placement.device, config);
        let (config, placement, options) = (config.clone(), placement.clone(), options.quiet());
        let bases =
            Box::new(move || load_bases(&config, &placement, &options).map_err(|error| with_causes(&error)));
        Worker { device, bases }
    };
    Ok(placements.iter().map(worker).collect())
}

/// The bases once more. They were found and checked when they were loaded for the first device.
fn load_bases(config: &TrainConfig, placement: &Placement, options: &OpenOptions) -> Result<Vec<FrozenBase>> {
    let value = open_value(config)?;
    let mut bases = Vec::new();
    for base in bases_of(config) {
        bases.push(TrainingBase::open(base, &value.vocab)?.load(placement, options)?.0);
    }
    Ok(bases)
}

/// An error with all its causes, for a message that crosses threads.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}
