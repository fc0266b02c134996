//! Every parameter of a transformer by its path: filling them, and reading them back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use ivl_kernels::Format;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::transformer::{Packer, Transformer};

/// Gives the numbers of a parameter, row-major, by path and shape.
pub(crate) trait Source {
    /// Number `index` of the parameter that was last announced.
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, f32));
}

/// Fills every parameter of a transformer. Memory beyond the weights: none.
pub(crate) fn fill(net: Transformer, source: &mut dyn Source, device: &Device, dtype: DType) -> Transformer {
    net.map(&mut Filler { path: Vec::new(), source, device, dtype, packer: None })
}

/// Fills every parameter of a transformer in f32, and packs each before the next.
pub(crate) fn fill_packed(
    net: Transformer,
    source: &mut dyn Source,
    device: &Device,
    format: Format,
) -> Transformer {
    let mut packer = Packer::new(format, net.config().embedding.tied);
    let dtype = DType::F32;
    let net = net.map(&mut Filler { path: Vec::new(), source, device, dtype, packer: Some(&mut packer) });
    packer.finish(net)
}

struct Filler<'a> {
    path: Vec<String>,
    source: &'a mut dyn Source,
    device: &'a Device,
    dtype: DType,
    packer: Option<&'a mut Packer>,
}

impl ModuleMapper for Filler<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let shape: Vec<usize> = param.lazy_shape().to_vec();
        let len = shape.iter().product();
        let data = match self.dtype {
            DType::F16 => {
                let mut numbers = vec![f16::ZERO; len];
                self.source.fill(&path, &shape, &mut |index, number| numbers[index] = f16::from_f32(number));
                TensorData::new(numbers, shape)
            }
            DType::BF16 => {
                let mut numbers = vec![bf16::ZERO; len];
                self.source.fill(&path, &shape, &mut |index, number| numbers[index] = bf16::from_f32(number));
                TensorData::new(numbers, shape)
            }
            _ => {
                let mut numbers = vec![0f32; len];
                self.source.fill(&path, &shape, &mut |index, number| numbers[index] = number);
                TensorData::new(numbers, shape)
            }
        };
        let param = Param::from_tensor(Tensor::from_data(data, (self.device, self.dtype)));
        match &mut self.packer {
            Some(packer) => packer.pack(&path, param),
            None => param,
        }
    }
}

/// A random start: weights from `N(0, std)`, norms at one (or zero where one is added), biases at zero.
///
/// Numbers come from a seeded generator on the host, so that a seed means the same weights on every device.
pub fn initialize(net: Transformer, seed: u64, std: f64, device: &Device) -> Transformer {
    initialize_as(net, seed, std, device, DType::F32)
}

/// [`initialize`] in another type.
pub fn initialize_as(net: Transformer, seed: u64, std: f64, device: &Device, dtype: DType) -> Transformer {
    let mut source = Random::new(&net, seed, std);
    fill(net, &mut source, device, dtype)
}

/// [`initialize`] for inference on the CPU; see [`Transformer::packed`].
pub fn initialize_packed(
    net: Transformer,
    seed: u64,
    std: f64,
    device: &Device,
    format: Format,
) -> Transformer {
    let mut source = Random::new(&net, seed, std);
    fill_packed(net, &mut source, device, format)
}

struct Random {
    rng: ChaCha8Rng,
    std: f64,
    unit_offset: bool,
}

impl Random {
    fn new(net: &Transformer, seed: u64, std: f64) -> Self {
        let unit_offset = net.config().norm.kind == crate::config::NormKind::RmsUnitOffset;
        Self { rng: ChaCha8Rng::seed_from_u64(seed), std, unit_offset }
    }
}

impl Source for Random {
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, f32)) {
        let len: usize = shape.iter().product();
        let is_norm_weight = shape.len() == 1 && path.ends_with("weight");
        for index in 0..len {
            put(
                index,
                match shape {
                    [_] if is_norm_weight && !self.unit_offset => 1.0,
                    [_] => 0.0,
                    _ => (self.std * normal(&mut self.rng)) as f32,
                },
            );
        }
    }
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    use rand::RngExt;
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
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
