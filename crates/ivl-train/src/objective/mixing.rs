//! Training against several frozen bases: which of them a step sees, and with what weight.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::MixingStrategy;

/// The weights of the bases over the steps.
///
/// With normalised weights `w` from the configuration:
///
/// - sample: the loss of base `k`, drawn with probability `w_k`; the same in expectation as
/// - average: `L = sum_k w_k L_k`;
/// - worst: `L = sum_k q_k L_k` with `q = w` at first and `q_k <- q_k exp(eta L_k) / Z` after each step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixing {
    strategy: MixingStrategy,
    eta: f64,
    seed: u64,
    weights: Vec<f64>,
}

impl Mixing {
    /// Bases with the given weights, of which each is above 0.
    pub(crate) fn new(strategy: MixingStrategy, eta: f64, seed: u64, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        Self { strategy, eta, seed, weights: weights.iter().map(|weight| weight / total).collect() }
    }

    /// The bases that step `step` sees, with their weights in its loss. A pure function of seed and step but for
    /// [`MixingStrategy::Worst`].
    pub(crate) fn bases(&self, step: usize) -> Vec<(usize, f64)> {
        if self.strategy == MixingStrategy::Sample {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6d69_7869_6e67);
            rng.set_stream(step as u64);
            let mut left: f64 = rng.random();
            let drawn = self.weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            return vec![(drawn.unwrap_or(self.weights.len() - 1), 1.0)];
        }
        self.weights.iter().copied().enumerate().collect()
    }

    /// Learns from the losses of a step; one for each base.
    pub(crate) fn update(&mut self, losses: &[f64]) {
        if self.strategy != MixingStrategy::Worst {
            return;
        }
        for (weight, loss) in self.weights.iter_mut().zip(losses) {
            *weight *= (self.eta * loss).exp();
        }
        let total: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= total);
    }

    /// The current weights; with [`restore`](Self::restore), the state of a run.
    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Goes on with weights that [`weights`](Self::weights) gave; those of another number of bases are ignored.
    pub(crate) fn restore(&mut self, weights: &[f64]) {
        if weights.len() == self.weights.len() {
            self.weights.copy_from_slice(weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_weights_and_the_seed() {
        let mixing = Mixing::new(MixingStrategy::Sample, 0.0, 5, &[3.0, 1.0]);
        let draws: Vec<_> = (0..4000).flat_map(|step| mixing.bases(step)).collect();
        let first = draws.iter().filter(|&&(base, weight)| base == 0 && weight == 1.0).count();
        assert!((2850..3150).contains(&first), "{first} of 4000, expected 3000");
        assert_eq!(mixing.bases(17), Mixing::new(MixingStrategy::Sample, 0.0, 5, &[3.0, 1.0]).bases(17));
        let other = Mixing::new(MixingStrategy::Sample, 0.0, 6, &[3.0, 1.0]);
        assert!((0..100).any(|step| other.bases(step) != mixing.bases(step)));
    }

    #[test]
    fn averages_keep_their_weights() {
        let mut mixing = Mixing::new(MixingStrategy::Average, 9.0, 0, &[3.0, 1.0]);
        mixing.update(&[1.0, 100.0]);
        assert_eq!(mixing.bases(9), [(0, 0.75), (1, 0.25)]);
    }

    #[test]
    fn the_worst_base_gains_weight_by_the_exponential_rule() {
        let mut mixing = Mixing::new(MixingStrategy::Worst, 0.5, 0, &[1.0, 1.0]);
        mixing.update(&[1.0, 3.0]);
        let expected = 1.0 / (1.0 + 1f64.exp());
        assert!((mixing.weights()[0] - expected).abs() < 1e-12);
        let mut again = Mixing::new(MixingStrategy::Worst, 0.5, 0, &[1.0, 1.0]);
        again.restore(mixing.weights());
        assert_eq!(again, mixing);
    }
}
