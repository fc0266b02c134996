//! `--device` and `--dtype`.

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use ivl_models::Format;

use crate::args::{Common, Dtype};

/// The device that the options ask for. `auto` takes the first accelerator that this build has, else the CPU.
pub fn device(common: &Common) -> Result<Device> {
    if common.dtype == Dtype::Int8 && !on_cpu(common) {
        bail!("--dtype int8 is for the CPU; use it with --device cpu, or bf16 on `{}`", common.device);
    }
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

/// How the weights of a model are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// As tensors of the device.
    Tensors(DType),
    /// Laid out for the kernels of the CPU.
    Packed(Format),
}

impl Weights {
    /// As `--dtype` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensors(DType::BF16) => "bf16",
            Self::Tensors(DType::F16) | Self::Packed(Format::F16) => "f16",
            Self::Packed(Format::Int8) => "int8",
            Self::Tensors(_) | Self::Packed(_) => "f32",
        }
    }
}

/// How the weights are kept on the device that the options name.
pub fn dtype(common: &Common) -> Weights {
    match common.dtype {
        Dtype::F32 | Dtype::Auto if on_cpu(common) => Weights::Packed(Format::F32),
        Dtype::F16 if on_cpu(common) => Weights::Packed(Format::F16),
        Dtype::Int8 => Weights::Packed(Format::Int8),
        Dtype::F32 => Weights::Tensors(DType::F32),
        Dtype::F16 => Weights::Tensors(DType::F16),
        Dtype::Bf16 | Dtype::Auto => Weights::Tensors(DType::BF16),
    }
}

/// [`dtype`] for weights that a value in training shares: as tensors everywhere.
pub fn shared_dtype(common: &Common) -> Weights {
    match dtype(common) {
        Weights::Packed(Format::F16) => Weights::Tensors(DType::F16),
        Weights::Packed(_) => Weights::Tensors(DType::F32),
        tensors @ Weights::Tensors(_) => tensors,
    }
}

/// Whether the device that the options name, or the first of them, is a CPU.
pub fn on_cpu(common: &Common) -> bool {
    match common.device.split(',').next().unwrap_or_default() {
        "cpu" => true,
        "auto" => cuda_devices() == 0 && !cfg!(feature = "wgpu"),
        _ => false,
    }
}

fn auto() -> Result<Device> {
    match cuda_devices() {
        0 if cfg!(feature = "wgpu") => wgpu(),
        0 => cpu(),
        _ => cuda(0),
    }
}

/// CUDA devices that the driver lists; none without a driver.
#[cfg(feature = "cuda")]
fn cuda_devices() -> usize {
    Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len()
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> usize {
    0
}

/// The CPU.
#[cfg(feature = "flex")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
pub fn cpu() -> Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
pub fn cpu() -> Result<Device> {
    bail!("this ivl was built without the CPU backend; build it with `--features flex`")
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    // Asked first: the device itself panics where there is no driver.
    match cuda_devices() {
        0 => bail!(
            "no CUDA device was found: no GPU, or no NVIDIA driver (libcuda); see whether `nvidia-smi` lists one, or \
             use --device cpu"
        ),
        found if index >= found => {
            bail!(
                "--device is `cuda:{index}`, but {found} CUDA devices were found: expected cuda:0 to cuda:{}",
                found - 1
            )
        }
        _ => Ok(Device::cuda(index)),
    }
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
