//! Where models compute, and in which type their weights are kept.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use std::sync::LazyLock;

use burn::tensor::{DType, Device};
use ivl_models::{PackedFormat, Weights};

use crate::Error;
use crate::error::Result;

/// The type of the weights in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// On a CPU as the files store them: blocks of GGUF files as blocks, all else in the shortest floating-point type that holds it
    /// unchanged. On a GPU bf16 if it computes in it, else f32.
    #[default]
    Auto,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with five bits of exponent.
    F16,
    /// 16-bit floating point with eight bits of exponent.
    Bf16,
    /// Bytes in groups of 32 with a scale each; on the CPU only.
    Int8,
    /// Four bits in groups of 32 with a scale each; on the CPU only.
    Int4,
}

/// A device, and how weights are kept on it.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The device.
    pub device: Device,
    /// How weights are kept for inference.
    pub weights: Weights,
    name: String,
}

impl Placement {
    /// The device of a name (auto, cpu, cuda, cuda:N or wgpu) with weights of a type. `auto` is the first accelerator that
    /// this build supports and this machine has, else the CPU.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`], [`Error::NoDevice`] and [`Error::UnsupportedDtype`]: Burn itself computes in any type, be
    /// it nonsense, or ends the program.
    pub fn new(name: &str, dtype: Dtype) -> Result<Self> {
        if name.contains(',') {
            return Err(Error::SeveralDevices { got: name.to_owned() });
        }
        let (device, weights) = (named(name)?, weights_on(name, dtype));
        let fits = match weights {
            Weights::Tensors(dtype) => device.supports_dtype(dtype),
            Weights::Packed(_) | Weights::Stored => is_cpu(name),
        };
        if !fits {
            let types = [DType::F32, DType::F16, DType::BF16].into_iter();
            let supported = types.filter(|&dtype| device.supports_dtype(dtype));
            let expected: Vec<&str> = supported.map(|dtype| Weights::Tensors(dtype).name()).collect();
            return Err(Error::UnsupportedDtype {
                device: name.to_owned(),
                dtype: weights.name(),
                expected: expected.join(" or "),
            });
        }
        Ok(Self { device, weights, name: name.to_owned() })
    }

    /// Placements on several devices, separated by commas; the first leads.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn several(names: &str, dtype: Dtype) -> Result<Vec<Self>> {
        names.split(',').map(|name| Self::new(name, dtype)).collect()
    }

    /// The CPU by another name, to plan with.
    #[cfg(test)]
    pub(crate) fn pretended(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::new("cpu", Dtype::F32).expect("the CPU") }
    }

    /// The requested name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the weights' type: f32, f16, bf16, int8, int4, or stored.
    pub fn dtype_name(&self) -> &'static str {
        self.weights.name()
    }

    /// Weights that a value in training shares with its base: as tensors everywhere.
    #[must_use]
    pub fn for_training(&self) -> Self {
        let weights = match self.weights {
            Weights::Packed(PackedFormat::F16) => Weights::Tensors(DType::F16),
            Weights::Packed(_) | Weights::Stored => Weights::Tensors(DType::F32),
            tensors @ Weights::Tensors(_) => tensors,
        };
        Self { weights, ..self.clone() }
    }

    /// Whether the processor itself computes: by ivl's own kernels, or by a graphics driver without a GPU.
    pub fn is_in_software(&self) -> bool {
        is_cpu(&self.name) || self.name == "wgpu" && gpus_of_wgpu() == 0
    }
}

fn named(name: &str) -> Result<Device> {
    match name {
        "auto" => auto(),
        "cpu" => cpu(),
        "cuda" => cuda(0),
        "wgpu" => wgpu(),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => cuda(index),
            _ => Err(Error::UnknownDevice { got: other.to_owned() }),
        },
    }
}

fn weights_on(name: &str, dtype: Dtype) -> Weights {
    match dtype {
        Dtype::Auto if is_cpu(name) => Weights::Stored,
        Dtype::F32 if is_cpu(name) => Weights::Packed(PackedFormat::F32),
        Dtype::F16 if is_cpu(name) => Weights::Packed(PackedFormat::F16),
        Dtype::Int8 => Weights::Packed(PackedFormat::INT8),
        Dtype::Int4 => Weights::Packed(PackedFormat::INT4),
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

/// Whether models on a device of this name compute on the CPU.
pub(crate) fn is_cpu(name: &str) -> bool {
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

fn missing(reason: impl Into<String>) -> Error {
    Error::NoDevice { reason: reason.into() }
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

/// GPUs that wgpu finds. A driver that computes on the CPU (lavapipe, WARP) does not count: ivl's own kernels are many times as fast.
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

#[cfg(feature = "flex")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn cpu() -> Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Result<Device> {
    Err(missing("this ivl was built without the CPU backend; build it with the feature `flex`"))
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    // The driver is consulted first: the device itself panics without one.
    match cuda_devices() {
        0 => Err(missing(
            "no CUDA device was found: no GPU, or no NVIDIA driver (libcuda); see whether `nvidia-smi` lists one, or use \
             the device cpu",
        )),
        found if index >= found => Err(missing(format!(
            "the device is `cuda:{index}`, but {found} CUDA devices were found: expected cuda:0 to cuda:{}",
            found - 1
        ))),
        _ => Ok(Device::cuda(index)),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(missing(
        "this ivl was built without CUDA; build it with the feature `cuda` (docs/cuda.md) or use the device cpu",
    ))
}

/// The device is opened here: without a device Burn would panic at its first tensor. A second opening is refused.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    static OPENED: LazyLock<Result<Device, String>> =
        LazyLock::new(|| Device::wgpu_options().init().map_err(|error| error.to_string()));
    OPENED.clone().map_err(|reason| {
        missing(format!(
            "no wgpu device could be opened ({reason}); see whether the system's driver for Vulkan, Metal or DirectX 12 \
             lists one (on Linux `vulkaninfo --summary`), or use the device cpu"
        ))
    })
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device> {
    Err(missing("this ivl was built without wgpu; build it with the feature `wgpu` or use the device cpu"))
}
