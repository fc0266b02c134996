//! How sure a model is of the next token.

use ivl_kernels::SoftmaxStats;

/// Two measures of a distribution over the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uncertainty {
    /// `-sum_i p_i log p_i`, in nats: 0 where one token is certain, `log n` where `n` are equally probable.
    pub entropy: f64,
    /// The difference of the two largest probabilities: 1 where one token is certain, 0 where two share the first place.
    pub margin: f64,
}

impl Uncertainty {
    /// Measures `softmax(logits)`. Tokens that are impossible (minus infinity) add nothing.
    pub fn of(logits: &[f32]) -> Self {
        let mass = SoftmaxStats::new(logits);
        let [mut first, mut second] = [f32::NEG_INFINITY; 2];
        for &logit in logits {
            if logit > first {
                (first, second) = (logit, first);
            } else if logit > second {
                second = logit;
            }
        }
        let weight = |logit: f32| f64::from(logit - mass.largest).exp();
        Self { entropy: mass.entropy(), margin: (weight(first) - weight(second)) / mass.sum_exp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_hand() {
        let of = |probabilities: &[f32]| {
            Uncertainty::of(&probabilities.iter().map(|p| p.ln() + 7.0).collect::<Vec<_>>())
        };
        let Uncertainty { entropy, margin } = of(&[0.25, 0.5, 0.25]);
        assert!((entropy - 1.5 * std::f64::consts::LN_2).abs() < 1e-6, "{entropy}");
        assert!((margin - 0.25).abs() < 1e-6, "{margin}");
        assert!(of(&[0.0, 1.0, 0.0]).entropy.abs() < 1e-12);
        assert_eq!(of(&[0.0, 1.0, 0.0]).margin, 1.0);
        assert_eq!(of(&[0.5, 0.5]).margin, 0.0);
    }
}
