//! What a run minimises besides the penalties.

use crate::config::{DpoConfig, TrainConfig};
use crate::objective::loss::Terms;

/// What a run minimises besides the penalties, with the numbers that it needs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Criterion {
    /// The cross-entropy of the trained tokens.
    #[default]
    CrossEntropy,
    /// `T^2 KL(teacher || fused)` at the trained positions, and the cross-entropy with a weight of its own.
    Distill {
        /// `T`: divides the logits of both.
        temperature: f64,
        /// Weight of the cross-entropy.
        cross_entropy: f64,
    },
    /// The mean loss of pairs of answers.
    Preference(DpoConfig),
}

impl Criterion {
    /// The criterion of a run.
    pub fn new(config: &TrainConfig) -> Self {
        match (&config.distill, config.dpo) {
            (Some(distill), _) => {
                Self::Distill { temperature: distill.temperature, cross_entropy: distill.cross_entropy }
            }
            (None, Some(dpo)) => Self::Preference(dpo),
            (None, None) => Self::CrossEntropy,
        }
    }

    /// The weight of the cross-entropy of a trained token; for pairs it is [another](crate::step::pairs) in each answer.
    fn token_weight(self) -> f64 {
        match self {
            Self::CrossEntropy | Self::Preference(_) => 1.0,
            Self::Distill { cross_entropy, .. } => cross_entropy,
        }
    }

    /// The weights of the cross-entropies of `n` tokens; `None` where each is 1.
    pub(crate) fn token_weights(self, n: usize) -> Option<Vec<f32>> {
        let weight = self.token_weight();
        (weight != 1.0).then(|| vec![weight as f32; n])
    }

    /// The sum that the criterion makes of the terms of tokens: what is minimised, without the penalties. Pairs have
    /// [sums of their own](crate::PairSums).
    pub(crate) fn total(self, terms: &Terms) -> f64 {
        let [cross_entropy, _, _, _, distillation] = terms.read();
        // A weight of 0 must not turn an infinite cross-entropy into no number.
        let weight = self.token_weight();
        distillation + if weight == 0.0 { 0.0 } else { weight * cross_entropy }
    }
}
