//! Every parameter of a transformer by its path: filling them, and reading them back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};
use ivl_kernels::PackedFormat;

use super::network::Transformer;
use super::packed::Packer;
use super::stored_matrix::StoredMatrix;
use crate::Weights;

/// Gives the numbers of a parameter, row-major, by path and shape.
pub(crate) trait ParameterSource {
    /// Calls `put` with runs of numbers that are neighbours, each with the index of its first, until every number was given.
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, &[f32]));

    /// A matrix of which each output's inputs are stored side by side, to be read by several threads in the place of
    /// [`fill`](Self::fill).
    fn stored(&self, _path: &str, _shape: &[usize]) -> Option<StoredMatrix<'_>> {
        None
    }

    /// Called once a [stored](Self::stored) matrix was read.
    fn done(&mut self, _path: &str, _shape: &[usize]) {}
}

/// Fills every parameter of a transformer, on the device where it is to be, and packs each before the next if its weights are to be
/// packed. `weights` says how a parameter is kept, by its path.
pub(crate) fn fill_parameters(
    net: Transformer,
    source: &mut dyn ParameterSource,
    weights: &dyn Fn(&str) -> Weights,
) -> Transformer {
    let mut packer = Packer::new(net.config().embedding.tied);
    let net = net.map(&mut ParameterFiller { path: Vec::new(), source, weights, packer: &mut packer });
    packer.finish(net, |path| !matches!(weights(path), Weights::Tensors(_)))
}

struct ParameterFiller<'a> {
    path: Vec<String>,
    source: &'a mut dyn ParameterSource,
    weights: &'a dyn Fn(&str) -> Weights,
    packer: &'a mut Packer,
}

impl ParameterFiller<'_> {
    /// Packs a matrix as its file stores it, if the network takes it so. `format` is that of packed matrices; each is kept as it is
    /// stored, if there is none.
    fn pack_stored<const D: usize>(
        &mut self,
        path: &str,
        param: &Param<Tensor<D>>,
        format: Option<PackedFormat>,
    ) -> Option<Param<Tensor<D>>> {
        let shape: Vec<usize> = param.lazy_shape().to_vec();
        let stored = self.source.stored(path, &shape)?;
        let format = self.packer.format(path, D, format, stored.format)?;
        let packed = self.packer.pack_stored(path, param, format, stored);
        self.source.done(path, &shape);
        Some(packed)
    }

    /// The numbers of a parameter in another type.
    fn numbers<T: Copy>(&mut self, path: &str, shape: &[usize], zero: T, from: impl Fn(f32) -> T) -> Vec<T> {
        let mut numbers = vec![zero; shape.iter().product()];
        self.source.fill(path, shape, &mut |first, run| {
            for (number, &given) in numbers[first..].iter_mut().zip(run) {
                *number = from(given);
            }
        });
        numbers
    }
}

impl ModuleMapper for ParameterFiller<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let shape: Vec<usize> = param.lazy_shape().to_vec();
        let weights = (self.weights)(&path);
        let (dtype, format) = match weights {
            Weights::Tensors(dtype) => (dtype, None),
            Weights::Packed(format) => (DType::F32, Some(format)),
            Weights::Stored => (DType::F32, None),
        };
        let is_packed = !matches!(weights, Weights::Tensors(_));
        if is_packed && let Some(packed) = self.pack_stored(&path, &param, format) {
            return packed;
        }
        let data = match dtype {
            DType::F16 => TensorData::new(self.numbers(&path, &shape, f16::ZERO, f16::from_f32), shape),
            DType::BF16 => TensorData::new(self.numbers(&path, &shape, bf16::ZERO, bf16::from_f32), shape),
            _ => TensorData::new(self.numbers(&path, &shape, 0f32, |number| number), shape),
        };
        let param = Param::from_tensor(Tensor::from_data(data, (&param.lazy_device(), dtype)));
        if is_packed { self.packer.pack(&path, param, format.unwrap_or(PackedFormat::F32)) } else { param }
    }
}

/// One parameter: its path, shape and flattened numbers.
#[derive(Debug, Clone)]
pub struct NamedParameter {
    /// For example `blocks.3.mlp.up.weight`.
    pub path: String,
    /// `[rows, columns]` or `[width]`.
    pub shape: Vec<usize>,
    /// The numbers, row-major, shape `[rows * columns]`.
    pub tensor: Tensor<1>,
}

impl Transformer {
    /// Every parameter, in a fixed order. Cheap: tensors are handles.
    pub fn named_parameters(&self) -> Vec<NamedParameter> {
        let mut collector = Collector { path: Vec::new(), found: Vec::new() };
        self.visit(&mut collector);
        collector.found
    }
}

struct Collector {
    path: Vec<String>,
    found: Vec<NamedParameter>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.found.push(NamedParameter {
            path: self.path.join("."),
            shape: tensor.dims().to_vec(),
            tensor: tensor.reshape([-1]),
        });
    }
}

/// Paths and shapes of all parameters, without making those that are not made yet.
pub(crate) fn parameter_shapes(net: &Transformer) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes::default();
    net.visit(&mut shapes);
    shapes.found
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), param.lazy_shape().to_vec()));
    }
}
