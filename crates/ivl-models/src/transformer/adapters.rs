//! A network with low-rank adapters: adding, merging and replacing them.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::lora::Lora;
use super::lora_config::LoraConfig;
use super::network::Transformer;
use super::parameters::parameter_shapes;

impl Transformer {
    /// Freezes every weight and adds adapters, the only trained parameters; at first they change nothing.
    #[must_use]
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Self {
        // Packed weights are frozen as they are; asking for them would unpack them.
        let mut net = if self.is_packed() { self } else { self.no_grad() };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (_, projection, linear) in net.projections_mut() {
            if config.targets.contains(&projection) {
                let device = linear.weight.lazy_device();
                linear.lora = Some(Lora::new(linear.shape(), config, &mut rng, &device));
            }
        }
        net
    }

    /// The same network with its adapters added to the weights.
    #[must_use]
    pub fn merged(mut self) -> Self {
        for (_, _, linear) in self.projections_mut() {
            linear.merge();
        }
        self
    }

    /// The same network with hidden states `factor` times as large after the last norm. Its logits are so too, but for a bias of
    /// the head and a cap on them. Adapters of it are saved with the norm.
    #[must_use]
    pub fn with_scaled_norm(mut self, factor: f64) -> Self {
        if factor != 1.0 {
            self.norm.scale(factor);
            self.own_norm = true;
        }
        self
    }

    /// The same network, whose hidden states are from now on the difference that its adapters make: those with them minus those
    /// without, after the last norm. Its logits are then
    ///
    /// ```text
    /// W h(x; weights + adapters) - W h(x; weights)
    /// ```
    ///
    /// the term of proxy tuning ([arXiv 2401.08565](https://arxiv.org/abs/2401.08565)). Both are read in one pass, as two rows side
    /// by side: the weights, which are what decoding waits for, are read once. Caches are as large as for two texts.
    ///
    /// `None` where that is not the difference of the logits: for a head with a bias or a cap on its logits, a network without
    /// adapters, and adapters that came with a last norm of their own.
    #[must_use]
    pub fn with_adapter_difference(mut self) -> Option<Self> {
        let embedding = &self.config().embedding;
        if embedding.softcap.is_some() || embedding.head_bias || self.own_norm {
            return None;
        }
        let mut adapters = 0;
        for (_, _, linear) in self.projections_mut() {
            if let Some(lora) = &mut linear.lora {
                lora.alternates = true;
                adapters += 1;
            }
        }
        self.is_difference = true;
        (adapters > 0).then_some(self)
    }

    /// Replaces the last norm by one that was saved with adapters: its weight and, if it has one, its bias.
    ///
    /// # Panics
    /// If there are not as many numbers as the norm is wide.
    pub(crate) fn set_norm(&mut self, weight: Vec<f32>, bias: Option<Vec<f32>>) {
        self.norm.set(weight, bias);
        self.own_norm = true;
    }

    /// Whether the last norm belongs to the adapters.
    pub(crate) fn has_own_norm(&self) -> bool {
        self.own_norm
    }

    /// Paths and shapes of all matrices of adapters.
    pub(crate) fn adapter_shapes(&self) -> Vec<(String, [usize; 2])> {
        let adapters = parameter_shapes(self).into_iter().filter(|(path, _)| path.contains(".lora."));
        adapters
            .filter_map(|(path, shape)| match shape[..] {
                [rows, columns] => Some((path, [rows, columns])),
                _ => None,
            })
            .collect()
    }

    /// Lays the adapters of packed weights out for kernels.
    pub(crate) fn pack_adapters(&mut self) {
        self.projections_mut().for_each(|(_, _, linear)| linear.pack_adapters());
    }

    /// Replaces the matrix of an adapter; `numbers` are row-major.
    ///
    /// # Panics
    /// If there are not as many numbers as the matrix has.
    pub(crate) fn set_adapter(&mut self, path: &str, numbers: Vec<f32>) {
        let mut layers = path.split('.').skip(1).take(1).filter_map(|layer| layer.parse::<usize>().ok());
        let layer = layers.next().unwrap_or_default();
        for (index, projection, linear) in self.projections_mut() {
            let dtype = linear.site().dtype;
            let here = index == layer && path.contains(&format!(".{}.", projection.path()));
            if let Some(lora) = linear.lora.as_mut().filter(|_| here) {
                let matrix = if path.ends_with("down") { &mut lora.down } else { &mut lora.up };
                let (dims, device) = (matrix.dims(), matrix.val().device());
                let tensor = Tensor::<2>::from_data(TensorData::new(numbers, dims), (&device, DType::F32));
                *matrix = Param::from_tensor(tensor.cast(dtype));
                return;
            }
        }
    }
}
