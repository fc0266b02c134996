//! Random weights.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::network::Transformer;
use super::parameters::{ParameterSource, fill_parameters};
use crate::Weights;

/// A random start: matrices from `N(0, std^2)`, norms at one (or zero where one is added), biases at zero.
///
/// Numbers come from a seeded generator on the host, so that a seed means the same weights on every device.
pub fn initialize(net: Transformer, seed: u64, std: f64, weights: impl Into<Weights>) -> Transformer {
    let unit_offset = net.config().norm.kind.offset() == 1.0;
    let mut source = RandomSource { rng: ChaCha8Rng::seed_from_u64(seed), std, unit_offset };
    let weights = weights.into();
    fill_parameters(net, &mut source, &|_| weights)
}

struct RandomSource {
    rng: ChaCha8Rng,
    std: f64,
    unit_offset: bool,
}

impl ParameterSource for RandomSource {
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, &[f32])) {
        let is_norm_weight = shape.len() == 1 && path.ends_with("weight");
        for index in 0..shape.iter().product() {
            let number = match shape {
                [_] if path.contains("xielu") => xielu_start(path),
                // Rates of forgetting spread over orders of magnitude, as in the reference.
                [_] if path.ends_with("decay.rate") => self.rng.random_range(0.01f64..16.0).ln() as f32,
                [_] if path.ends_with("decay.bias") || path.ends_with("delta.norm.weight") => 1.0,
                [_] if matches!(path.rsplit('.').next(), Some("scale" | "factors")) => 1.0,
                [_] if is_norm_weight && !self.unit_offset => 1.0,
                [_] => 0.0,
                _ => (self.std * standard_normal(&mut self.rng)) as f32,
            };
            put(index, &[number]);
        }
    }
}

/// The start of xIELU in its paper: slopes of 0.8 on both sides, one half of which comes from `beta` below zero.
fn xielu_start(path: &str) -> f32 {
    let inverse_softplus = |slope: f64| slope.exp_m1().ln() as f32;
    match path.rsplit('.').next() {
        Some("alpha_p") => inverse_softplus(0.8),
        Some("alpha_n") => inverse_softplus(0.3),
        Some("beta") => 0.5,
        _ => -1e-6,
    }
}

/// A standard normal number, by Box and Muller.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
