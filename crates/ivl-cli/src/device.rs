//! `--device` and `--dtype`.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use std::sync::LazyLock;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use ivl_models::{PackedFormat, Weights};

use crate::args::{Common, Dtype};

/// The device that the options ask for. `auto` takes the first accelerator that this build has, else the CPU.
pub fn device(common: &Common) -> Result<Device> {
    fit(&common.device, common)
}

/// Several devices, separated by commas; the first leads.
pub fn devices(common: &Common) -> Result<Vec<Device>> {
    common.device.split(',').map(|name| fit(name, common)).collect()
}

/// A device that computes in the type asked for: Burn computes in any, be it nonsense, or ends the program.
fn fit(name: &str, common: &Common) -> Result<Device> {
    let (device, weights) = (named(name)?, weights_on(name, common.dtype));
    let fits = match weights {
        Weights::Tensors(dtype) => device.supports_dtype(dtype),
        Weights::Packed(_) => is_cpu(name),
    };
    if !fits {
        let types = [DType::F32, DType::F16, DType::BF16].into_iter();
        let types =
            types.filter(|&dtype| device.supports_dtype(dtype)).map(|dtype| Weights::Tensors(dtype).name());
        let types = types.collect::<Vec<_>>().join(" or ");
        let cpu = if weights == Weights::Packed(PackedFormat::Int8) { "; int8 is for the CPU" } else { "" };
        bail!("`{name}` does not compute in {}, expected {types}{cpu}", weights.name());
    }
    Ok(device)
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

/// How the weights are kept on the device that the options name.
pub fn dtype(common: &Common) -> Weights {
    weights_on(first(common), common.dtype)
}

fn weights_on(name: &str, dtype: Dtype) -> Weights {
    match dtype {
        Dtype::F32 | Dtype::Auto if is_cpu(name) => Weights::Packed(PackedFormat::F32),
        Dtype::F16 if is_cpu(name) => Weights::Packed(PackedFormat::F16),
        Dtype::Int8 => Weights::Packed(PackedFormat::Int8),
        Dtype::F32 => Weights::Tensors(DType::F32),
        Dtype::F16 => Weights::Tensors(DType::F16),
        Dtype::Bf16 => Weights::Tensors(DType::BF16),
        // Not f16 in its place: models that were trained in bf16 may reach beyond its range.
        Dtype::Auto => match named(name) {
            Ok(device) if device.supports_dtype(DType::BF16) => Weights::Tensors(DType::BF16),
            _ => Weights::Tensors(DType::F32),
        },
    }
}

/// [`dtype`] for weights that a value in training shares: as tensors everywhere.
pub fn shared_dtype(common: &Common) -> Weights {
    match dtype(common) {
        Weights::Packed(PackedFormat::F16) => Weights::Tensors(DType::F16),
        Weights::Packed(_) => Weights::Tensors(DType::F32),
        tensors @ Weights::Tensors(_) => tensors,
    }
}

/// Whether the processor itself computes: ivl's own kernels, or a graphics driver without a GPU.
pub fn in_software(common: &Common) -> bool {
    let name = first(common);
    is_cpu(name) || name == "wgpu" && gpus_of_wgpu() == 0
}

/// The device that the options name, or the first of them.
fn first(common: &Common) -> &str {
    common.device.split(',').next().unwrap_or_default()
}

fn is_cpu(name: &str) -> bool {
    match name {
        "cpu" => true,
        "auto" => cuda_devices() == 0 && gpus_of_wgpu() == 0,
        _ => false,
    }
}

fn auto() -> Result<Device> {
    if is_cpu("auto") {
        cpu()
    } else if cuda_devices() > 0 {
        cuda(0)
    } else {
        wgpu()
    }
}

/// CUDA devices that the driver lists; none without a driver.
#[cfg(feature = "cuda")]
fn cuda_devices() -> usize {
    static FOUND: LazyLock<usize> =
        LazyLock::new(|| Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len());
    *FOUND
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> usize {
    0
}

/// GPUs that wgpu finds. A driver that computes on the CPU (lavapipe, WARP) is none: ivl's own kernels are many times as fast.
#[cfg(feature = "wgpu")]
fn gpus_of_wgpu() -> usize {
    use burn::tensor::{DeviceKind, DeviceType};
    static FOUND: LazyLock<usize> = LazyLock::new(|| {
        let software = Device::wgpu(DeviceKind::Cpu);
        Device::enumerate(DeviceType::Wgpu).iter().filter(|&found| *found != software).count()
    });
    *FOUND
}

#[cfg(not(feature = "wgpu"))]
fn gpus_of_wgpu() -> usize {
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

/// The device is opened here: at its first tensor Burn would panic where there is none. A second opening is refused.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    static OPENED: LazyLock<Result<Device, String>> =
        LazyLock::new(|| Device::wgpu_options().init().map_err(|error| error.to_string()));
    OPENED.clone().map_err(|reason| {
        anyhow::anyhow!(
            "no wgpu device could be opened ({reason}); see whether the system's driver for Vulkan, Metal or DirectX 12 \
             lists one (on Linux `vulkaninfo --summary`), or use --device cpu"
        )
    })
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device> {
    bail!("this ivl was built without wgpu; build it with `--features wgpu` or use --device cpu")
}
