//! A network laid out for the kernels of the CPU.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_kernels::{Matrix, PackedFormat};

use super::block::Block;
use super::experts::Experts;
use super::network::Transformer;
use super::ops::Numbers;

/// Packs the weights of projections as they pass by; everything else becomes f32.
pub(crate) struct Packer {
    format: PackedFormat,
    tied: bool,
    path: Vec<String>,
    packed: HashMap<String, Arc<Matrix>>,
}

impl Packer {
    /// For a network whose head may be its transposed embedding.
    pub(crate) fn new(format: PackedFormat, tied: bool) -> Self {
        Self { format, tied, path: Vec::new(), packed: HashMap::new() }
    }

    /// Packs a parameter, if kernels multiply with it. What is left in its place makes the tensor from the packed numbers, should
    /// somebody ask for it.
    pub(crate) fn pack<const D: usize>(&mut self, path: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let embedding = path.contains("embedding.");
        let tied = path == "embedding.weight" && self.tied;
        let filter = path.ends_with("filter.weight");
        if D != 2 || path.contains(".lora.") || filter || embedding && !tied {
            return param;
        }
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape());
        let tensor = param.into_value().cast(DType::F32);
        let numbers = Numbers::new(tensor);
        // Which experts are chosen depends on small differences.
        let chooses = path.ends_with("experts.router.weight");
        let format = if chooses { PackedFormat::F32 } else { self.format };
        let (numbers, columns) = (numbers.as_slice(), shape[1]);
        let matrix = Arc::new(match tied {
            true => {
                Matrix::new(format, [columns, shape[0]], |input, output| numbers[output * columns + input])
            }
            false => {
                Matrix::new(format, [shape[0], columns], |input, output| numbers[input * columns + output])
            }
        });
        self.packed.insert(path.to_owned(), matrix.clone());
        let unpack = move |device: &Device, _: bool| {
            let [inputs, outputs] = matrix.shape();
            let (rows, columns) = if tied { (outputs, inputs) } else { (inputs, outputs) };
            let mut numbers = vec![0.0; rows * columns];
            for output in 0..outputs {
                for (input, number) in matrix.output(output).into_iter().enumerate() {
                    let [row, column] = if tied { [output, input] } else { [input, output] };
                    numbers[row * columns + column] = number;
                }
            }
            Tensor::from_data(TensorData::new(numbers, [rows, columns]), (device, DType::F32))
        };
        Param::uninitialized(id, unpack, device, false, shape)
    }

    /// The network whose parameters were packed.
    pub(crate) fn finish(self, mut net: Transformer) -> Transformer {
        let found = |path: String| self.packed.get(&path).cloned();
        net.embedding.packed = found("embedding.weight".to_owned());
        if let Some(head) = &mut net.head {
            head.packed = found("head.weight".to_owned());
        }
        for (index, projection, linear) in net.projections_mut() {
            linear.packed = found(format!("blocks.{index}.{}.weight", projection.path()));
        }
        for (index, block) in net.blocks.iter_mut().enumerate() {
            for (path, linear) in block.other_linears_mut() {
                linear.packed = found(format!("blocks.{index}.{path}.weight"));
            }
        }
        net.norm.pack();
        net.blocks.iter_mut().for_each(Block::pack);
        net
    }
}

impl ModuleMapper for Packer {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        self.pack(&path, param.map(|tensor| tensor.cast(DType::F32)))
    }
}

impl Transformer {
    /// The same network for inference on the CPU: its weights are laid out for kernels and kept in `format`; it computes in f32.
    ///
    /// A row of a batch then gives the same bits whatever else is in the batch, and a token whether its text is read at once or
    /// in pieces. The network has to be on the CPU backend, without autodiff; kernels replace operations of that backend.
    #[must_use]
    pub fn packed(self, format: PackedFormat) -> Self {
        let mut packer = Packer::new(format, self.config().embedding.tied);
        let net = self.map(&mut packer);
        packer.finish(net)
    }

    /// Bytes of weights that a step of one row reads: projections and head. Those of dense models are read once however many rows
    /// the step has; more rows choose more experts, see [`expert_reads`](Self::expert_reads).
    pub fn bytes_of_step(&self) -> usize {
        let head = match &self.head {
            Some(head) => self.bytes(head.packed.as_ref(), head.shape()),
            None => self.bytes(self.embedding.packed.as_ref(), self.embedding.weight.lazy_shape().dims()),
        };
        let linears = self.blocks.iter().flat_map(Block::linears_of_token);
        linears.map(|linear| self.bytes(linear.packed.as_ref(), linear.shape())).sum::<usize>() + head
    }

    fn bytes(&self, packed: Option<&Arc<Matrix>>, [inputs, outputs]: [usize; 2]) -> usize {
        match packed {
            Some(matrix) => matrix.bytes(),
            None => inputs * outputs * self.dtype().size(),
        }
    }

    /// Bytes of the matrices of one expert; 0 for a model without experts. All experts have one shape.
    pub fn bytes_of_expert(&self) -> usize {
        let mixture = self.blocks.iter().find_map(|block| block.experts.as_ref());
        let linears = mixture.into_iter().flat_map(Experts::linears_of_expert);
        linears.map(|linear| self.bytes(linear.packed.as_ref(), linear.shape())).sum()
    }

    /// Experts that a token goes through, in all layers together.
    pub fn experts_of_token(&self) -> usize {
        self.blocks.iter().filter_map(|block| block.experts.as_ref()).map(Experts::per_token).sum()
    }

    /// Experts whose matrices were read, in all passes of this network and its copies together. A pass reads an expert once, however
    /// many of its positions choose it.
    pub fn expert_reads(&self) -> u64 {
        self.blocks.iter().filter_map(|block| block.experts.as_ref()).map(Experts::reads).sum()
    }

    /// Weights that a token is multiplied with in the projections, and in the head.
    pub fn multiplied_weights(&self) -> [usize; 2] {
        let linears = self.blocks.iter().flat_map(Block::linears_of_token);
        let body = linears.map(|linear| linear.shape().iter().product::<usize>()).sum();
        [body, self.config().hidden_size * self.config().vocab_size]
    }

    /// How the weights are kept, if they are laid out for kernels.
    pub fn format(&self) -> Option<PackedFormat> {
        let linear = self.blocks.first()?.linears_of_token().next()?;
        linear.packed.as_ref().map(|matrix| matrix.format())
    }
}
