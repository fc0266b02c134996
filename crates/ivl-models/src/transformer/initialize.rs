//! Random weights.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::network::Transformer;
use super::parameters::{ParameterSource, fill_parameters};
use crate::Weights;
use crate::config::NormKind;

/// A random start: matrices from `N(0, std^2)`, norms at one (or zero where one is added), biases at zero.
///
/// Numbers come from a seeded generator on the host, so that a seed means the same weights on every device.
pub fn initialize(net: Transformer, seed: u64, std: f64, weights: impl Into<Weights>) -> Transformer {
    let unit_offset = net.config().norm.kind == NormKind::RmsUnitOffset;
    let device = net.device();
    let mut source = RandomSource { rng: ChaCha8Rng::seed_from_u64(seed), std, unit_offset };
    fill_parameters(net, &mut source, &device, weights.into())
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
                [_] if is_norm_weight && !self.unit_offset => 1.0,
                [_] => 0.0,
                _ => (self.std * standard_normal(&mut self.rng)) as f32,
            };
            put(index, &[number]);
        }
    }
}

/// A standard normal number, by Box and Muller.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
