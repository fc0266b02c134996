//! `--device` and `--dtype`.

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};

use crate::args::{Common, Dtype};

/// The device that the options ask for. `auto` takes the first accelerator that this build has, else the CPU.
pub fn device(common: &Common) -> Result<Device> {
    named(&common.device)
}

fn named(name: &str) -> Result<Device> {
    match name {
        "auto" => auto(),
        "cpu" => cpu(),
        "cuda" => cuda(0),
        "wgpu" => wgpu(),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => cuda(index),
            _ => bail!(
                "--device is `{other}`, expected auto, cpu, cuda, cuda:N or wgpu, and for `train` alone several of them: \
                 cuda:0,cuda:1"
            ),
        },
    }
}

/// Several devices, separated by commas; the first leads.
pub fn devices(common: &Common) -> Result<Vec<Device>> {
    common.device.split(',').map(named).collect()
}

/// The type of the weights on a device.
pub fn dtype(common: &Common) -> DType {
    match common.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Auto if on_cpu(common) => DType::F32,
        Dtype::Bf16 | Dtype::Auto => DType::BF16,
    }
}

fn on_cpu(common: &Common) -> bool {
    match common.device.split(',').next().unwrap_or_default() {
        "cpu" => true,
        "auto" => !cfg!(any(feature = "cuda", feature = "wgpu")),
        _ => false,
    }
}

fn auto() -> Result<Device> {
    if cfg!(feature = "cuda") {
        cuda(0)
    } else if cfg!(feature = "wgpu") {
        wgpu()
    } else {
        cpu()
    }
}

#[cfg(feature = "flex")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn cpu() -> Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Result<Device> {
    bail!("this ivl was built without the CPU backend; build it with `--features flex`")
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    bail!(
        "this ivl was built without CUDA; build it with `--features cuda` (docs/cuda.md) or use --device cpu"
    )
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device> {
    bail!("this ivl was built without wgpu; build it with `--features wgpu` or use --device cpu")
}
