//! A weight of a value for each position, learned from what base and value predict there.

use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Tensor};

use crate::error::Error;
use crate::fusion::mapped_logits::MappedLogits;
use crate::fusion::unmapped::NOTHING;

/// Numbers of a position that a [`LearnedGate`] reads.
const COUNT: usize = 8;

/// Below it `e^x` is 0 in single precision. It stands for minus infinity, which times 0 would not be 0.
const IMPOSSIBLE: f32 = -1e4;

/// A weight of a value for each position, by which its logits are multiplied: with base logits `b` and the value's `v`,
///
/// ```text
/// l = b + alpha g(t) v,    g(t) = 2 sigmoid(w . f(t) + c)
/// ```
///
/// where `f(t)` are eight numbers of position `t`, in this order ([`FEATURES`](Self::FEATURES)):
///
/// | feature | meaning | unit |
/// |---|---|---|
/// | `base_entropy`, `base_top_logprob` | entropy and largest log-probability of `softmax(b)` | nats |
/// | `value_entropy`, `value_top_logprob` | the same of `softmax(v)`, over the ids for which the value has a logit | nats |
/// | `fused_entropy`, `fused_top_logprob` | the same of the logits that base and value have at weight 1 without a gate | nats |
/// | `same_choice` | 1 if the largest logits of `b` and `v` are of one token, else 0 | |
/// | `value_rms` | root mean square of `v - mean(v)`, over the ids for which the value has a logit | logits |
///
/// `b` are the logits of the base without any value: a gate does not depend on the other values that are attached, nor on their
/// order. With `w = 0` and `c = 0`, `g` is 1 and changes nothing.
///
/// `ivl_eval::gate_fit` fits one; docs/explain.md says when it helps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnedGate {
    weights: [f64; COUNT],
    bias: f64,
}

impl LearnedGate {
    /// The features, in the order of the weights.
    pub const FEATURES: [&str; COUNT] = [
        "base_entropy",
        "base_top_logprob",
        "value_entropy",
        "value_top_logprob",
        "fused_entropy",
        "fused_top_logprob",
        "same_choice",
        "value_rms",
    ];

    /// The gate that is 1 everywhere.
    pub const ONE: Self = Self { weights: [0.0; COUNT], bias: 0.0 };

    /// A gate of these weights, in the order of [`FEATURES`](Self::FEATURES), and this bias.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a number that is not finite.
    pub fn new(weights: [f64; COUNT], bias: f64) -> Result<Self, Error> {
        let numbers = weights.iter().chain([&bias]);
        match numbers.into_iter().find(|number| !number.is_finite()) {
            None => Ok(Self { weights, bias }),
            Some(number) => Err(Error::InvalidSetting {
                name: "a weight of the learned gate",
                expected: "a finite number",
                got: number.to_string(),
            }),
        }
    }

    /// The weights `w`, in the order of [`FEATURES`](Self::FEATURES).
    pub fn weights(&self) -> &[f64; COUNT] {
        &self.weights
    }

    /// The bias `c`.
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// `g` at a position with these features.
    pub fn at(&self, features: &[f64; COUNT]) -> f64 {
        let sum: f64 = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        2.0 / (1.0 + (-sum - self.bias).exp())
    }

    /// Multiplies the logits of a value by `g`.
    ///
    /// # Shapes
    /// - `base`: `[.., vocab]`, in f32
    /// - `value` and output: the same
    pub(crate) fn apply<const D: usize>(&self, base: &Tensor<D>, value: MappedLogits<D>) -> MappedLogits<D> {
        let features = features(base, &value);
        let mut dims = [1; D];
        dims[D - 1] = COUNT;
        let weights = self.weights.map(|weight| weight as f32);
        let weights = Tensor::<1>::from_floats(weights, &features.device()).reshape(dims);
        let gate = sigmoid((features * weights).sum_dim(D - 1).add_scalar(self.bias)).mul_scalar(2.0);
        MappedLogits { logits: value.logits.cast(DType::F32) * gate, ..value }
    }
}

/// The numbers that a gate reads, in the order of [`LearnedGate::FEATURES`].
///
/// # Shapes
/// - `base`: `[.., vocab]`, in f32
/// - `value`: the same
/// - output: `[.., 8]`, in f32
pub(crate) fn features<const D: usize>(base: &Tensor<D>, value: &MappedLogits<D>) -> Tensor<D> {
    let logits = value.logits.clone().cast(DType::F32);
    let known = value.missing.clone().map(|missing| missing.cast(DType::F32).neg().add_scalar(1.0));
    let possible = match &value.missing {
        Some(missing) => logits.clone() + missing.clone().cast(DType::F32).mul_scalar(NOTHING),
        None => logits.clone(),
    };
    let same = base.clone().argmax(D - 1).equal(possible.clone().argmax(D - 1)).float().cast(DType::F32);
    let [of_base, of_value, of_both] =
        [base.clone(), possible, value.onto(base.clone(), 1.0)].map(entropy_and_top);
    Tensor::cat(vec![of_base, of_value, of_both, same, root_mean_square(logits, known)], D - 1)
}

/// Entropy and largest log-probability of `softmax(logits)`, in nats. Shape `[.., 2]`.
///
/// With `x = logits - max(logits)` and `s = sum e^x` they are `log s - sum(x e^x) / s` and `-log s`.
fn entropy_and_top<const D: usize>(logits: Tensor<D>) -> Tensor<D> {
    let largest = logits.clone().max_dim(D - 1);
    let below = (logits - largest).clamp_min(IMPOSSIBLE);
    let weights = below.clone().exp();
    let sum = weights.clone().sum_dim(D - 1);
    let log_sum = sum.clone().log();
    let entropy = log_sum.clone() - (weights * below).sum_dim(D - 1) / sum;
    Tensor::cat(vec![entropy, log_sum.neg()], D - 1)
}

/// `sqrt(mean((v - mean(v))^2))` over the ids where `known` is 1, which are all without it; 0 where there is none. Elsewhere `v` is
/// 0. Shape `[.., 1]`.
fn root_mean_square<const D: usize>(logits: Tensor<D>, known: Option<Tensor<D>>) -> Tensor<D> {
    let Some(known) = known else {
        let mean = logits.clone().mean_dim(D - 1);
        return (logits - mean).square().mean_dim(D - 1).sqrt();
    };
    let count = known.clone().sum_dim(D - 1).clamp_min(1.0);
    let mean = logits.clone().sum_dim(D - 1) / count.clone();
    (((logits - mean) * known).square().sum_dim(D - 1) / count).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::tokens::to_host;

    fn row(numbers: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(numbers, &Device::flex()).unsqueeze()
    }

    fn close(got: &[f32], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} {expected}");
        }
    }

    /// Base probabilities 1/2, 1/4, 1/4; value probabilities 1/4, 1/4, 1/2; both together 2/5, 1/5, 2/5.
    fn logits() -> [[f32; 3]; 2] {
        [[0.5_f32, 0.25, 0.25], [0.25, 0.25, 0.5]].map(|row| row.map(f32::ln))
    }

    #[test]
    fn features_by_hand() {
        let [base, value] = logits();
        let ln2 = std::f64::consts::LN_2;
        let fused_entropy = -(0.8 * 0.4_f64.ln() + 0.2 * 0.2_f64.ln());
        // The value's logits are -2, -2 and -1 times log 2: deviations from their mean of 1/3, 1/3 and 2/3 log 2.
        let rms = ln2 * (2.0_f64 / 9.0).sqrt();
        let expected = [1.5 * ln2, -ln2, 1.5 * ln2, -ln2, fused_entropy, 0.4_f64.ln(), 0.0, rms];
        close(&to_host(features(&row(&base), &MappedLogits::whole(row(&value)))), &expected);
        // A constant in either changes nothing.
        let [base, value] = [base.map(|logit| logit + 3.0), value.map(|logit| logit - 7.0)];
        close(&to_host(features(&row(&base), &MappedLogits::whole(row(&value)))), &expected);
        let same = features(&row(&base), &MappedLogits::whole(row(&base)));
        assert_eq!(to_host(same)[6], 1.0);
    }

    #[test]
    fn ids_without_a_logit_take_no_part_in_the_features_of_the_value() {
        let [base, value] = logits();
        let base: Vec<f32> = base.iter().copied().chain([0.0, f32::NEG_INFINITY]).collect();
        let value: Vec<f32> = value.iter().map(|logit| logit - 9.0).chain([0.0, 0.0]).collect();
        let missing = Some(row(&[0.0, 0.0, 0.0, 1.0, 1.0]));
        for unmapped in [missing.clone(), None] {
            let mapped = MappedLogits { logits: row(&value), unmapped, missing: missing.clone() };
            let got: Vec<f32> = to_host(features(&row(&base), &mapped));
            let ln2 = std::f64::consts::LN_2;
            close(&got[2..4], &[1.5 * ln2, -ln2]);
            close(&got[6..], &[0.0, ln2 * (2.0_f64 / 9.0).sqrt()]);
            // Base probabilities 1/4, 1/8, 1/8, 1/2 and 0.
            close(&got[..2], &[1.75 * ln2, -ln2]);
            if mapped.unmapped.is_some() {
                // The neutral value leaves 1/2 to the fourth id; the others share the rest as 2/5, 1/5 and 2/5.
                close(&got[4..6], &[-(0.4 * 0.2_f64.ln() + 0.1 * 0.1_f64.ln() + 0.5 * 0.5_f64.ln()), -ln2]);
            }
        }
    }

    #[test]
    fn a_value_without_any_logit_has_finite_features() {
        let missing = Some(row(&[1.0; 3]));
        let mapped = MappedLogits { logits: row(&[0.0; 3]), unmapped: missing.clone(), missing };
        let got: Vec<f32> = to_host(features(&row(&logits()[0]), &mapped));
        assert!(got.iter().all(|feature| feature.is_finite()), "{got:?}");
        assert_eq!(got[7], 0.0);
    }

    #[test]
    fn a_gate_by_hand() {
        let mut weights = [0.0; COUNT];
        weights[6] = 1.0;
        weights[0] = 2.0 / std::f64::consts::LN_2;
        let gate = LearnedGate::new(weights, -3.0 + 3.0_f64.ln()).expect("finite numbers");
        // The base's entropy is 1.5 log 2, so the sum is log 3: 2 sigmoid(log 3) = 3/2.
        let [base, value] = logits();
        let gated = gate.apply(&row(&base), MappedLogits::whole(row(&value))).logits;
        close(&to_host(gated), &value.map(|logit| 1.5 * f64::from(logit)));
        let features: Vec<f32> = to_host(features(&row(&base), &MappedLogits::whole(row(&value))));
        let features = std::array::from_fn(|index| f64::from(features[index]));
        assert!((gate.at(&features) - 1.5).abs() < 1e-5);
        let one = LearnedGate::new([0.0; COUNT], 0.0).expect("finite numbers");
        let same: Vec<f32> = to_host(one.apply(&row(&base), MappedLogits::whole(row(&value))).logits);
        assert_eq!(same, value);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for number in [f64::NAN, f64::INFINITY] {
            let mut weights = [0.0; COUNT];
            weights[3] = number;
            assert!(
                LearnedGate::new(weights, 0.0).is_err() && LearnedGate::new([0.0; COUNT], number).is_err()
            );
        }
    }
}
