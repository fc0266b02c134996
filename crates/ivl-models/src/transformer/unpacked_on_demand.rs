//! Parameters whose numbers are laid out for kernels and nowhere else.

use std::sync::Arc;

use burn::module::{Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_kernels::Matrix;

/// What is left in the place of a packed parameter: it makes the tensor from the packed numbers, should somebody ask for it. That of
/// a `table` is transposed.
pub(super) fn unpacked_on_demand<const D: usize>(
    matrix: Arc<Matrix>,
    hole: Hole,
    table: bool,
) -> Param<Tensor<D>> {
    let [inputs, outputs] = matrix.shape();
    let [rows, columns] = if table { [outputs, inputs] } else { [inputs, outputs] };
    let unpack = move |device: &Device, _: bool| {
        let mut numbers = vec![0.0; rows * columns];
        for output in 0..outputs {
            for (input, number) in matrix.output(output).into_iter().enumerate() {
                let [row, column] = if table { [output, input] } else { [input, output] };
                numbers[row * columns + column] = number;
            }
        }
        Tensor::from_data(TensorData::new(numbers, [rows, columns]), (device, DType::F32))
    };
    Param::uninitialized(hole.id, unpack, hole.device, false, [rows, columns].into())
}

/// The place of a parameter that was packed.
pub(super) struct Hole {
    id: ParamId,
    device: Device,
}

impl Hole {
    pub(super) fn of<const D: usize>(param: &Param<Tensor<D>>) -> Self {
        Self { id: param.id, device: param.lazy_device() }
    }
}
