//! The nine numbers of a gate that minimise the loss of demonstrations.

use ivl_core::fusion::LearnedGate;

use super::observations::{FEATURES, GateObservations};

/// Steps of Adam, and the first learning rate, which falls to 0 in equal steps.
const STEPS: usize = 400;
const RATE: f64 = 0.05;

/// Adam's means of gradients and of their squares, and what keeps its quotient finite.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// A feature whose standard deviation is below this, relative to its mean, is constant: it only repeats the bias.
const CONSTANT: f64 = 1e-6;

/// The weights of the features, then the bias.
type Parameters = [f64; FEATURES + 1];

impl GateObservations {
    /// The gate `g` that minimises, over its weights and its bias,
    ///
    /// ```text
    /// mean loss(g) + penalty * mean (g - 1)^2
    /// ```
    ///
    /// by Adam from `g = 1`. Features are standardised meanwhile; the gate has the numbers for those that
    /// [`LearnedGate`] reads. Of all steps it is the best one, so that it is never worse than no gate on what it is fitted to. The
    /// same observations give the same gate.
    ///
    /// # Errors
    /// [`InvalidSetting`](ivl_core::Error::InvalidSetting) for a penalty that is negative or not finite, and for features that are
    /// not finite.
    pub fn fit(&self, penalty: f64) -> Result<LearnedGate, ivl_core::Error> {
        if !penalty.is_finite() || penalty < 0.0 {
            return Err(ivl_core::Error::InvalidSetting {
                name: "penalty",
                expected: "a number of at least 0",
                got: penalty.to_string(),
            });
        }
        let scales = self.scales();
        let inputs: Vec<[f64; FEATURES]> =
            self.positions.iter().map(|position| standardised(&position.features, &scales)).collect();
        let (mut at, mut best) = ([0.0; FEATURES + 1], [0.0; FEATURES + 1]);
        let (mut mean, mut square) = (at, at);
        let mut least = f64::INFINITY;
        for step in 0..=STEPS {
            let (objective, gradient) = self.objective(&inputs, &at, penalty);
            if objective < least {
                (least, best) = (objective, at);
            }
            let rate = RATE * (STEPS - step) as f64 / STEPS as f64;
            let corrections = BETAS.map(|beta| 1.0 - beta.powi(step as i32 + 1));
            for (index, slope) in gradient.into_iter().enumerate() {
                mean[index] += (1.0 - BETAS[0]) * (slope - mean[index]);
                square[index] += (1.0 - BETAS[1]) * (slope * slope - square[index]);
                at[index] -= rate * (mean[index] / corrections[0])
                    / ((square[index] / corrections[1]).sqrt() + EPSILON);
            }
        }
        let mut bias = best[FEATURES];
        let mut weights = [0.0; FEATURES];
        for ((weight, best), Scale { center, spread }) in weights.iter_mut().zip(best).zip(scales) {
            *weight = spread.map_or(0.0, |spread| best / spread);
            bias -= *weight * center;
        }
        LearnedGate::new(weights, bias)
    }

    /// The objective and its gradient.
    fn objective(&self, inputs: &[[f64; FEATURES]], at: &Parameters, penalty: f64) -> (f64, Parameters) {
        let (mut sum, mut gradient) = (0.0, [0.0; FEATURES + 1]);
        for (position, input) in self.positions.iter().zip(inputs) {
            let weighted: f64 = input.iter().zip(at).map(|(input, weight)| input * weight).sum();
            let g = 2.0 / (1.0 + (-weighted - at[FEATURES]).exp());
            let (loss, slope) = position.loss(g);
            sum += loss + penalty * (g - 1.0).powi(2);
            // The derivative of 2 sigmoid(z) is g (1 - g / 2).
            let slope = (slope + 2.0 * penalty * (g - 1.0)) * g * (1.0 - g / 2.0);
            gradient
                .iter_mut()
                .zip(input.iter().chain([&1.0]))
                .for_each(|(sum, input)| *sum += slope * input);
        }
        let count = self.positions.len().max(1) as f64;
        (sum / count, gradient.map(|sum| sum / count))
    }

    /// Mean and standard deviation of each feature.
    fn scales(&self) -> [Scale; FEATURES] {
        let count = self.positions.len().max(1) as f64;
        std::array::from_fn(|index| {
            let all = || self.positions.iter().map(|position| position.features[index]);
            let center = all().sum::<f64>() / count;
            let spread = (all().map(|feature| (feature - center).powi(2)).sum::<f64>() / count).sqrt();
            Scale { center, spread: Some(spread).filter(|spread| *spread > CONSTANT * (1.0 + center.abs())) }
        })
    }
}

/// How a feature is standardised: `(x - center) / spread`, or 0 for a constant one.
struct Scale {
    center: f64,
    spread: Option<f64>,
}

fn standardised(features: &[f64; FEATURES], scales: &[Scale; FEATURES]) -> [f64; FEATURES] {
    std::array::from_fn(|index| {
        let Scale { center, spread } = &scales[index];
        spread.map_or(0.0, |spread| (features[index] - center) / spread)
    })
}

#[cfg(test)]
mod tests {
    use super::super::observations::Observation;
    use super::*;

    /// Positions with pseudo-random features, the last of which is constant, whose loss `(g - target)^2` is least at a target.
    fn observations(target: impl Fn(&[f64; FEATURES]) -> f64) -> GateObservations {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1_u64 << 24) as f64
        };
        let positions = (0..400).map(|passage| {
            let mut features: [f64; FEATURES] = std::array::from_fn(|index| (index + 1) as f64 * next());
            features[FEATURES - 1] = 0.1;
            let target = target(&features);
            let losses = std::array::from_fn(|point| (point as f64 / 10.0 - target).powi(2) as f32);
            Observation { passage, features, losses }
        });
        GateObservations { positions: positions.collect() }
    }

    #[test]
    fn a_planted_gate_is_found() {
        let planted = LearnedGate::new([1.5, -0.5, 0.0, 0.25, 0.0, 0.0, -0.2, 0.0], 0.3).expect("finite");
        let observations = observations(|features| planted.at(features));
        let found = observations.fit(0.0).expect("fits");
        for position in &observations.positions {
            let (found, planted) = (found.at(&position.features), planted.at(&position.features));
            assert!((found - planted).abs() < 0.05, "{found} {planted}");
        }
        assert_eq!(found.weights()[FEATURES - 1], 0.0, "a constant feature has no weight");
        assert_eq!(observations.fit(0.0).expect("fits"), found, "the fit is deterministic");
        // A constant gate would leave the variance of the targets.
        let constant = observations.mean_loss(observations.best_constant());
        let gated: f64 =
            observations.positions.iter().map(|position| position.loss(found.at(&position.features)).0).sum();
        assert!(gated / 400.0 < 0.1 * constant, "{gated} {constant}");
    }

    #[test]
    fn a_large_penalty_leaves_a_gate_of_one() {
        let observations = observations(|features| if features[0] > 0.5 { 2.0 } else { 0.0 });
        let far = |gate: &LearnedGate| {
            let distances =
                observations.positions.iter().map(|position| (gate.at(&position.features) - 1.0).abs());
            distances.fold(0.0, f64::max)
        };
        let [free, held] = [0.0, 1e9].map(|penalty| observations.fit(penalty).expect("fits"));
        assert!(far(&free) > 0.5, "{}", far(&free));
        assert!(far(&held) < 1e-3, "{}", far(&held));
    }

    #[test]
    fn a_penalty_outside_its_range_and_no_observations() {
        for penalty in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(GateObservations::default().fit(penalty).is_err());
        }
        assert_eq!(GateObservations::default().fit(0.01).expect("fits"), LearnedGate::ONE);
    }
}
