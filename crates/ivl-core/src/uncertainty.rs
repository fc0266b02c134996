//! How sure a model is of the next token.

/// Two measures of a distribution over the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uncertainty {
    /// `-sum_i p_i log p_i`, in nats: 0 where one token is certain, `log n` where `n` are equally probable.
    pub entropy: f64,
    /// The difference of the two largest probabilities: 1 where one token is certain, 0 where two share the first place.
    pub margin: f64,
}

impl Uncertainty {
    /// Measures `softmax(logits)`, in f64. Tokens that are impossible (minus infinity) add nothing.
    pub fn of(logits: &[f32]) -> Self {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (mut total, mut weighted, mut first, mut second) = (0.0, 0.0, 0.0, 0.0);
        for &logit in logits {
            let log_weight = f64::from(logit) - largest;
            let weight = log_weight.exp();
            if weight > 0.0 {
                total += weight;
                weighted += weight * log_weight;
            }
            if weight > first {
                (first, second) = (weight, first);
            } else if weight > second {
                second = weight;
            }
        }
        // -sum p (log w - log W), with p = w / W.
        Self { entropy: f64::max(total.ln() - weighted / total, 0.0), margin: (first - second) / total }
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
