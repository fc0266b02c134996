//! AdamW, on the CPU in one pass over the numbers.

use burn::module::ParamGroup;
use burn::optim::{AdamWConfig, AdamWState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{DType, Device, Tensor};
use ivl_core::tokens::is_host;

use crate::config::OptimizerConfig;

/// AdamW with decay on matrices only: norms and biases do not decay.
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let optimizer = AdamW::new(config, config.weight_decay).into();
    let undecayed = ParamGroup::from_regex(r"(norm\.weight|\.bias)$").expect("the expression is a constant");
    ModuleOptimizer::with_group(optimizer, undecayed, AdamW::new(config, 0.0), None)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Some steps by the kernel, and as many by Burn's operations.
    #[test]
    fn the_kernel_moves_as_burns_optimizer_does() {
        let device = Device::flex();
        let adamw = AdamW::new(&OptimizerConfig::default(), 0.1);
        let numbers = |step: usize, scale: f32| -> Tensor<2> {
            let number = |index: usize| ((index * 7919 + step * 31) % 2003) as f32 / 1001.0 - 1.0;
            let numbers: Vec<f32> = (0..35 * 11).map(|index| number(index) * scale).collect();
            Tensor::<1>::from_floats(numbers.as_slice(), &device).reshape([35, 11])
        };
        let (mut x, mut state) = (numbers(0, 1.0), None);
        let (mut expected, mut expected_state) = (x.clone(), None);
        for step in 1..6 {
            let gradient = numbers(step, 0.1);
            (x, state) = adamw.step(0.01, x, gradient.clone(), state);
            (expected, expected_state) = adamw.composed.step(0.01, expected, gradient, expected_state);
        }
        let moments = |state: Option<AdamWState<2>>| {
            let momentum = state.expect("a state").momentum;
            (momentum.time, [momentum.moment_1, momentum.moment_2])
        };
        let ((time, of_kernel), (expected_time, of_burn)) = (moments(state), moments(expected_state));
        assert_eq!(time, expected_time);
        let pairs = [(x, expected)].into_iter().chain(of_kernel.into_iter().zip(of_burn));
        for (got, expected) in pairs {
            let worst = (got - expected).abs().max().into_scalar::<f32>();
            assert!(worst < 1e-6, "differs by {worst}");
        }
    }
}
