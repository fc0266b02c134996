//! A network laid out for the kernels of the CPU.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor};
use ivl_core::cache::KvFormat;
use ivl_kernels::{Matrix, PackedFormat};

use super::block::Block;
use super::experts::Experts;
use super::layer_inputs::LayerInputs;
use super::linear::Linear;
use super::network::Transformer;
use super::ops::Numbers;
use super::stored_matrix::{LAYER_TABLE, StoredMatrix, is_table};
use super::unpacked_on_demand::{Hole, unpacked_on_demand};

/// Packs the weights of projections as they pass by.
pub(crate) struct Packer {
    tied: bool,
    packed: HashMap<String, Arc<Matrix>>,
}

impl Packer {
    /// For a network whose head may be its transposed embedding.
    pub(crate) fn new(tied: bool) -> Self {
        Self { tied, packed: HashMap::new() }
    }

    /// The format of a parameter where matrices have the format `wanted` or, without one, that in which they are stored. None for one
    /// that is not packed: kernels do not multiply with it, and it is no table of which they look rows up.
    ///
    /// A table of token vectors that is not the head stays a tensor if it is f32. A step reads few rows of it, so that it keeps at least
    /// eight bits. The table of vectors for each layer is as large as a model, and always packed.
    pub(crate) fn format(
        &self,
        path: &str,
        axes: usize,
        wanted: Option<PackedFormat>,
        stored: PackedFormat,
    ) -> Option<PackedFormat> {
        let format = match wanted {
            _ if chooses(path) => PackedFormat::F32,
            Some(PackedFormat::Blocks(_)) if path == "embedding.weight" && !self.tied => PackedFormat::INT8,
            wanted => wanted.unwrap_or(stored),
        };
        let is_looked_up = path == LAYER_TABLE || is_table(path) && format != PackedFormat::F32;
        (axes == 2 && (self.is_multiplied(path) || is_looked_up)).then_some(format)
    }

    /// Whether kernels multiply with a matrix.
    fn is_multiplied(&self, path: &str) -> bool {
        let tied = path == "embedding.weight" && self.tied;
        !path.contains(".lora.") && !path.ends_with("filter.weight") && (tied || !path.contains("embedding."))
    }

    /// Packs a parameter, if kernels multiply with it.
    pub(crate) fn pack<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
        format: PackedFormat,
    ) -> Param<Tensor<D>> {
        let Some(format) = self.format(path, D, Some(format), PackedFormat::F32) else { return param };
        let (hole, shape) = (Hole::of(&param), param.lazy_shape());
        let tensor = param.into_value().cast(DType::F32);
        let numbers = Numbers::new(tensor);
        let (numbers, columns) = (numbers.as_slice(), shape[1]);
        let matrix = match is_table(path) {
            true => {
                Matrix::new(format, [columns, shape[0]], |input, output| numbers[output * columns + input])
            }
            false => {
                Matrix::new(format, [shape[0], columns], |input, output| numbers[input * columns + output])
            }
        };
        self.put(path, matrix, hole)
    }

    /// Packs a stored parameter in its [format](Self::format).
    pub(crate) fn pack_stored<const D: usize>(
        &mut self,
        path: &str,
        param: &Param<Tensor<D>>,
        format: PackedFormat,
        stored: StoredMatrix<'_>,
    ) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        let shape = if is_table(path) { [shape[1], shape[0]] } else { [shape[0], shape[1]] };
        self.put(path, stored.packed(format, shape), Hole::of(param))
    }

    /// Remembers a matrix.
    fn put<const D: usize>(&mut self, path: &str, matrix: Matrix, hole: Hole) -> Param<Tensor<D>> {
        let matrix = Arc::new(matrix);
        self.packed.insert(path.to_owned(), matrix.clone());
        unpacked_on_demand(matrix, hole, is_table(path))
    }

    /// The network whose parameters were packed. `is_packed` says by path which parameters those are.
    pub(crate) fn finish(self, mut net: Transformer, is_packed: impl Fn(&str) -> bool) -> Transformer {
        let found = |path: String| self.packed.get(&path).cloned();
        net.embedding.packed = found("embedding.weight".to_owned());
        if let Some(head) = &mut net.head {
            head.packed = found("head.weight".to_owned());
        }
        if let Some(inputs) = net.layer_inputs.as_mut().filter(|_| is_packed(LAYER_TABLE)) {
            inputs.projection_mut().packed = found("layer_inputs.projection.weight".to_owned());
            inputs.pack(found(LAYER_TABLE.to_owned()));
        }
        for (index, projection, linear) in net.projections_mut() {
            linear.packed = found(format!("blocks.{index}.{}.weight", projection.path()));
            linear.pack_adapters();
        }
        for (index, block) in net.blocks.iter_mut().enumerate() {
            for (path, linear) in block.expert_linears_mut() {
                linear.packed = found(format!("blocks.{index}.experts.{path}.weight"));
            }
        }
        if is_packed("norm.weight") {
            net.norm.pack();
        }
        for (index, block) in net.blocks.iter_mut().enumerate() {
            if is_packed(&format!("blocks.{index}")) {
                block.pack();
            }
        }
        net
    }
}

/// Whether a matrix chooses experts. Which are chosen depends on small differences.
fn chooses(path: &str) -> bool {
    path.ends_with("experts.router.weight")
}

/// Packs a network in memory; everything that is not packed becomes f32.
struct Repacker {
    packer: Packer,
    format: PackedFormat,
    path: Vec<String>,
}

impl ModuleMapper for Repacker {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        self.packer.pack(&path, param.map(|tensor| tensor.cast(DType::F32)), self.format)
    }
}

impl Transformer {
    /// The same network for inference on the CPU: its weights are laid out for kernels and kept in `format`; it computes in f32.
    ///
    /// A row of a batch then gives the same bits whatever else is in the batch, and a token whether its text is read at once or
    /// in pieces. The network has to be on the CPU backend, without autodiff; kernels replace operations of that backend.
    #[must_use]
    pub fn packed(self, format: PackedFormat) -> Self {
        let packer = Packer::new(self.config().embedding.tied);
        let mut repacker = Repacker { packer, format, path: Vec::new() };
        let net = self.map(&mut repacker);
        repacker.packer.finish(net, |_| true)
    }

    /// Bytes of weights that a step of one row reads: projections and head. Those of dense models are read once however many rows
    /// the step has; more rows choose more experts, see [`expert_reads`](Self::expert_reads).
    pub fn bytes_of_step(&self) -> usize {
        let head = match &self.head {
            Some(head) => self.bytes(head.packed.as_ref(), head.shape()),
            None => self.bytes(self.embedding.packed.as_ref(), self.embedding.weight.lazy_shape().dims()),
        };
        let linears = self.linears_of_token();
        linears.map(|linear| self.bytes(linear.packed.as_ref(), linear.shape())).sum::<usize>() + head
    }

    /// The projections that one token is multiplied with.
    fn linears_of_token(&self) -> impl Iterator<Item = &Linear> {
        let inputs = self.layer_inputs.iter().map(LayerInputs::projection);
        self.blocks.iter().flat_map(Block::linears_of_token).chain(inputs)
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
        let linears = self.linears_of_token();
        let body = linears.map(|linear| linear.shape().iter().product::<usize>()).sum();
        [body, self.config().hidden_size * self.config().vocab_size]
    }

    /// Whether weights are laid out for kernels, on one device at least.
    pub fn is_packed(&self) -> bool {
        self.norm.is_packed() || self.blocks.iter().any(Block::is_packed)
    }

    /// The format of cached keys and values, the widest if layers on different devices have different ones.
    pub fn kv_format(&self) -> KvFormat {
        let of_block = |block: &Block| {
            let is_packed = block.key_projection()?.packed.is_some();
            Some(if is_packed { block.kv_format()? } else { KvFormat::Floats(block.site().dtype) })
        };
        let formats =
            self.stages.iter().filter_map(|stage| self.blocks[stage.clone()].iter().find_map(of_block));
        // Any width compares them.
        formats.max_by_key(|format| format.bytes(64)).unwrap_or_else(|| KvFormat::Floats(self.dtype()))
    }

    /// From now on the cache keeps keys and values in this format, wherever kernels of the CPU compute attention. Unless set, the
    /// format is f16 where products round activations to eight bits, else f32.
    #[must_use]
    pub fn with_kv_format(mut self, format: KvFormat) -> Self {
        self.blocks.iter_mut().for_each(|block| block.set_kv_format(format));
        self
    }

    /// How the matrices that a token is multiplied with are kept, each format once; none if they are not laid out for kernels.
    pub fn formats(&self) -> Vec<PackedFormat> {
        let linears = self.linears_of_token();
        let head = self.head.as_ref().map_or(&self.embedding.packed, |head| &head.packed);
        let mut formats = Vec::new();
        for matrix in linears.filter_map(|linear| linear.packed.as_ref()).chain(head) {
            if !formats.contains(&matrix.format()) {
                formats.push(matrix.format());
            }
        }
        formats
    }
}
