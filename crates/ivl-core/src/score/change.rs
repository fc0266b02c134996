//! Changes of the distribution by values at one position.

use ivl_kernels::{SoftmaxStats, kl_divergence};

use crate::distribution::most_probable;

/// The effect of the values on one token: base and fused distribution side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistributionChange {
    /// `log p_fused(token) - log p_base(token)`, in nats.
    pub delta: f32,
    /// Tokens that the base finds more probable.
    pub base_rank: usize,
    /// Tokens that base and values together find more probable.
    pub rank: usize,
    /// The base's most probable token.
    pub base_top: u32,
    /// Whether the most probable token is another one with the values than without.
    pub flip: bool,
    /// `KL(p_fused || p_base)`, in nats.
    pub kl: f32,
}

impl DistributionChange {
    /// Compares the two distributions at a position, from the view of the token at that position.
    ///
    /// # Panics
    /// If the slices differ in length or the token is outside.
    pub fn between(base: &[f32], fused: &[f32], token: u32) -> Self {
        assert_eq!(base.len(), fused.len(), "base and fused logits are of one vocabulary");
        let [of_base, of_fused] = [base, fused].map(SoftmaxStats::new);
        let at = token as usize;
        let log_p = |logits: &[f32], mass: &SoftmaxStats| f64::from(logits[at]) - mass.log_normalizer();
        let rank = |logits: &[f32]| logits.iter().filter(|&&logit| logit > logits[at]).count();
        let base_top = most_probable(base);
        Self {
            delta: (log_p(fused, &of_fused) - log_p(base, &of_base)) as f32,
            base_rank: rank(base),
            rank: rank(fused),
            base_top,
            flip: base_top != most_probable(fused),
            kl: kl_divergence([fused, base], [&of_fused, &of_base]) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_hand() {
        // Base 1/2, 1/4, 1/4; fused 1/4, 1/2, 1/4.
        let base = [0.5_f32, 0.25, 0.25].map(f32::ln);
        let fused = [0.25_f32, 0.5, 0.25].map(f32::ln);
        let change = DistributionChange::between(&base, &fused, 1);
        let log2 = std::f32::consts::LN_2;
        assert!((change.delta - log2).abs() < 1e-6);
        assert!((change.kl - 0.25 * log2).abs() < 1e-6, "1/4 ln 1/2 + 1/2 ln 2: {}", change.kl);
        assert_eq!((change.base_rank, change.rank, change.base_top, change.flip), (1, 0, 0, true));
    }

    #[test]
    fn without_values_nothing_changes() {
        let logits = [1.0, f32::NEG_INFINITY, -3.0];
        let change = DistributionChange::between(&logits, &logits, 2);
        assert_eq!((change.delta, change.kl, change.flip), (0.0, 0.0, false));
        assert_eq!((change.base_rank, change.rank), (1, 1));
    }
}
