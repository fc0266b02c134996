//! Networks on another device than the base that they are fused with.

use burn::tensor::{Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, ModelInfo, Positions, SelectedLogits};
use crate::error::Error;
use crate::fusion::CascadeValue;
use crate::vocab::Vocab;

/// A network as a model of another device: what it reads moves to its device, and its logits move to `device`.
///
/// A fusion adds logits on the base's device, so it needs no other place that knows of several devices.
struct Bridge<M: ?Sized> {
    network: Box<M>,
    device: Device,
}

/// The same model for users on `device`. A model that is there is returned as it is.
pub(crate) fn bridge_lm(lm: Box<dyn CausalLm>, device: &Device) -> Box<dyn CausalLm> {
    if lm.device() == *device { lm } else { Box::new(Bridge { network: lm, device: device.clone() }) }
}

/// The same cascade value for a base on `device`. A value that is there is returned as it is.
pub(crate) fn bridge_cascade(value: Box<dyn CascadeValue>, device: &Device) -> Box<dyn CascadeValue> {
    if value.device() == *device {
        value
    } else {
        Box::new(Bridge { network: value, device: device.clone() })
    }
}

impl CausalLm for Bridge<dyn CausalLm> {
    fn vocab(&self) -> &Vocab {
        self.network.vocab()
    }

    fn max_positions(&self) -> usize {
        self.network.max_positions()
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.network.new_cache(padding)
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let logits = self.network.forward(tokens.to_device(&self.network.device()), cache)?;
        Ok(logits.to_device(&self.device))
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        let logits = self.network.select_logits(tokens.to_device(&self.network.device()), at, cache)?;
        Ok(SelectedLogits::computed(logits.len(), move |rows| logits.rows(rows).to_device(&self.device)))
    }

    fn info(&self) -> ModelInfo {
        self.network.info()
    }
}

impl CascadeValue for Bridge<dyn CascadeValue> {
    fn vocab(&self) -> &Vocab {
        self.network.vocab()
    }

    fn max_positions(&self) -> usize {
        self.network.max_positions()
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.network.new_cache(padding)
    }

    fn forward(
        &self,
        tokens: Tensor<2, Int>,
        predicted: Tensor<3>,
        cache: &mut Cache,
    ) -> Result<Tensor<3>, Error> {
        let there = self.network.device();
        let logits = self.network.forward(tokens.to_device(&there), predicted.to_device(&there), cache)?;
        Ok(logits.to_device(&self.device))
    }

    fn info(&self) -> ModelInfo {
        self.network.info()
    }
}
