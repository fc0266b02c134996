//! What the machine can do at best, measured in the same minutes.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use ivl_kernels::{Format, Matrix, products, total};

use crate::device::Weights;

/// Edge of the matrices whose product is timed.
const EDGE: usize = 1024;

/// Reading memory and multiplying, on one device.
pub enum Floor {
    /// By the kernels of the CPU, on all threads.
    Cpu { memory: Vec<f32>, matrix: Box<Matrix>, rows: Vec<f32> },
    /// By the device's own operations.
    Device(Box<(Tensor<1>, Tensor<2>)>),
}

impl Floor {
    /// A floor for models of `bytes` of weights: as much memory is read, so that no cache holds it.
    pub fn new(bytes: usize, weights: Weights, device: &Device) -> Self {
        match weights {
            Weights::Packed(_) => Self::Cpu {
                memory: vec![1.0; bytes / 4],
                matrix: Box::new(Matrix::new(Format::F32, [EDGE, EDGE], |row, column| {
                    ((row * 31 + column) % 17) as f32
                })),
                rows: vec![1.0; EDGE * EDGE],
            },
            Weights::Tensors(dtype) => {
                let memory = Tensor::ones([bytes / 4], (device, DType::F32));
                let matrix = Tensor::<2>::random([EDGE, EDGE], Distribution::Normal(0.0, 1.0), device);
                Self::Device(Box::new((memory, matrix.cast(dtype))))
            }
        }
    }

    /// Bytes read in a second.
    pub fn read(&self) -> f64 {
        let began = Instant::now();
        let bytes = match self {
            Self::Cpu { memory, .. } => {
                black_box(total(memory));
                4 * memory.len()
            }
            Self::Device(tensors) => {
                let (memory, _) = &**tensors;
                black_box(memory.clone().sum().into_data());
                4 * memory.dims()[0]
            }
        };
        bytes as f64 / began.elapsed().as_secs_f64()
    }

    /// Multiplications and additions in a second.
    pub fn multiply(&self) -> f64 {
        let began = Instant::now();
        match self {
            Self::Cpu { matrix, rows, .. } => {
                black_box(products(rows, [matrix]));
            }
            Self::Device(tensors) => {
                let (_, matrix) = &**tensors;
                let product = matrix.clone().matmul(matrix.clone());
                black_box(product.slice([0..1, 0..1]).into_data());
            }
        }
        2.0 * (EDGE * EDGE * EDGE) as f64 / began.elapsed().as_secs_f64()
    }
}
