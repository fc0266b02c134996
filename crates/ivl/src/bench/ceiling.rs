//! The limits of the machine, measured in the same minutes.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use ivl_kernels::{Matrix, MemoryProbe, PackedFormat, products};
use ivl_models::Weights;

use crate::device::Placement;
use crate::error::{Error, Result};

/// Edge of the matrices whose product is timed on a CPU.
const EDGE: usize = 1024;

/// The same on an accelerator, where a smaller product is over before it has begun.
const LARGE_EDGE: usize = 8192;

/// How often memory is read on a CPU.
const READS: usize = 3;

/// Numbers that are read on an accelerator: 1 GiB, far more than a cache holds, and a long time beside that of a launch. Vulkan and
/// DirectX 12 have no buffer of 2 GiB.
const NUMBERS: usize = 1 << 28;

/// Reading memory and multiplying, on one device.
pub(super) enum Ceiling {
    /// By the kernels of the CPU, on all threads.
    Cpu { memory: MemoryProbe, matrix: Box<Matrix>, rows: Vec<f32> },
    /// By the device's own operations, in the type of the weights.
    Device { memory: Box<Tensor<1>>, matrix: Box<Tensor<2>> },
}

impl Ceiling {
    /// A ceiling for models of `bytes` of weights: on a CPU as much memory is read.
    pub(super) fn new(bytes: usize, placement: &Placement) -> Result<Self> {
        let device = &placement.device;
        let dtype = match placement.weights {
            Weights::Tensors(dtype) => dtype,
            Weights::Packed(_) | Weights::Stored => {
                let number = |row, column| ((row * 31 + column) % 17) as f32;
                return Ok(Self::Cpu {
                    memory: MemoryProbe::new(bytes),
                    matrix: Box::new(Matrix::new(PackedFormat::F32, [EDGE, EDGE], number)),
                    rows: vec![1.0; EDGE * EDGE],
                });
            }
        };
        let (numbers, edge) =
            if placement.is_in_software() { (bytes / 4, EDGE) } else { (NUMBERS, LARGE_EDGE) };
        let distribution = Distribution::Normal(0.0, 1.0);
        let ceiling = Self::Device {
            memory: Box::new(Tensor::random([numbers], distribution, (device, DType::F32))),
            matrix: Box::new(
                Tensor::<2>::random([edge, edge], distribution, (device, DType::F32)).cast(dtype),
            ),
        };
        // A device compiles and chooses its kernels at their first use.
        ceiling.read()?;
        ceiling.multiply()?;
        Ok(ceiling)
    }

    /// Bytes read in a second. On an accelerator the better of a sum, which reads, and of a copy, which reads and writes:
    /// neither kernel is sure to reach all that the memory gives.
    pub(super) fn read(&self) -> Result<f64> {
        match self {
            Self::Cpu { memory, .. } => {
                // Weights are read token after token, and may lie in a cache by then.
                black_box(memory.read());
                let began = Instant::now();
                for _ in 0..READS {
                    black_box(memory.read());
                }
                Ok((READS * memory.bytes()) as f64 / began.elapsed().as_secs_f64())
            }
            Self::Device { memory, .. } => {
                let (bytes, memory) = ((4 * memory.dims()[0]) as f64, &**memory);
                let sum = seconds(&memory.device(), || memory.clone().sum())?;
                let copy = seconds(&memory.device(), || memory.clone() + 1.0)?;
                Ok((bytes / sum).max(2.0 * bytes / copy))
            }
        }
    }

    /// Multiplications and additions in a second.
    pub(super) fn multiply(&self) -> Result<f64> {
        let (edge, seconds) = match self {
            Self::Cpu { matrix, rows, .. } => {
                let began = Instant::now();
                black_box(products(rows, [matrix]));
                (EDGE, began.elapsed().as_secs_f64())
            }
            Self::Device { matrix, .. } => {
                let product = || Tensor::clone(matrix).matmul(Tensor::clone(matrix));
                (matrix.dims()[0], seconds(&matrix.device(), product)?)
            }
        };
        Ok(2.0 * (edge as f64).powi(3) / seconds)
    }
}

/// Seconds of an operation, from a device at rest to a device at rest. Its result is held until then: an operation whose result
/// without a reader may never be computed.
fn seconds<const D: usize>(device: &Device, operation: impl Fn() -> Tensor<D>) -> Result<f64> {
    device.sync().map_err(|error| Error::Device(Box::new(error)))?;
    let began = Instant::now();
    let result = operation();
    device.sync().map_err(|error| Error::Device(Box::new(error)))?;
    let seconds = began.elapsed().as_secs_f64();
    drop(result);
    Ok(seconds)
}
