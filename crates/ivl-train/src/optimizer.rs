//! AdamW, on the CPU in one pass over the numbers.

use burn::module::ParamGroup;
use burn::optim::{AdamWConfig, AdamWState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{DType, Device, Tensor};
use ivl_models::transformer::is_host;

use crate::config::OptimizerConfig;

/// AdamW with decay on matrices only: norms and biases are left alone.
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let optimizer = AdamW::new(config, config.weight_decay).into();
    match ParamGroup::from_regex(r"(norm\.weight|\.bias)$") {
        Ok(undecayed) => ModuleOptimizer::with_group(optimizer, undecayed, AdamW::new(config, 0.0), None),
        Err(_) => optimizer,
    }
}

/// Burn's AdamW, state and all; on the CPU a kernel takes the steps after the first, which makes the state.
#[derive(Clone)]
struct AdamW {
    composed: burn::optim::AdamW,
    betas: [f32; 2],
    epsilon: f32,
    weight_decay: f32,
}

impl AdamW {
    fn new(config: &OptimizerConfig, weight_decay: f64) -> Self {
        let (betas, epsilon) = ([config.beta1 as f32, config.beta2 as f32], config.epsilon as f32);
        let weight_decay = weight_decay as f32;
        let composed = AdamWConfig::new()
            .with_beta_1(betas[0])
            .with_beta_2(betas[1])
            .with_epsilon(epsilon)
            .with_weight_decay(weight_decay)
            .build();
        Self { composed, betas, epsilon, weight_decay }
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let device = tensor.device();
        let mut state = match state {
            Some(state) if is_host(&device) && is_single([&tensor, &gradient]) => state,
            state => return self.composed.step(learning_rate, tensor, gradient, state),
        };
        let mut moments = state.momentum;
        moments.time += 1;
        let kernel = ivl_kernels::AdamW {
            learning_rate,
            betas: self.betas,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            time: moments.time,
        };
        let gradient = gradient.into_data();
        let mut changed = [tensor, moments.moment_1, moments.moment_2].map(Tensor::into_data);
        let [x, m, v] = changed.each_mut().map(|data| data.as_mut_slice().expect("numbers in f32"));
        kernel.step(x, gradient.as_slice().expect("numbers in f32"), [m, v]);
        let [x, m, v] = changed.map(|data| Tensor::from_data(data, (&device, DType::F32)));
        (moments.moment_1, moments.moment_2) = (m, v);
        state.momentum = moments;
        (x, Some(state))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        burn::optim::AdamW::to_device(state, device)
    }
}

fn is_single<const D: usize>(tensors: [&Tensor<D>; 2]) -> bool {
    tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}
