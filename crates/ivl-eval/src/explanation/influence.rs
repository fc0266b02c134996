//! Mean effects of values on texts.

use ivl_core::score::{DistributionChange, TokenExplanation};

use crate::statistics::mean;

/// Means of [`TokenExplanation`] over tokens. NaN where there is nothing to take the mean of.
#[derive(Debug, Clone, PartialEq)]
pub struct Influence {
    /// Tokens.
    pub tokens: usize,
    /// All values against the base.
    pub all: MeanChange,
    /// Mean entropy of the base, in nats.
    pub base_entropy: f64,
    /// Each value's own part.
    pub values: Vec<MeanChange>,
    /// Every two values, in the order of [`TokenExplanation::conflicts`].
    pub conflicts: Vec<Disagreement>,
}

/// Mean effects of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanChange {
    /// Mean of `log p` with them less `log p` without, in nats.
    pub delta: f64,
    /// Share of positions at which the most probable token is another one.
    pub flips: f64,
    /// Mean of `KL(with || without)`, in nats.
    pub kl: f64,
}

/// How two values agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// The first value's index.
    pub first: usize,
    /// The second's.
    pub second: usize,
    /// Mean cosine of what they add, where both say something.
    pub cosine: f64,
    /// Share of positions at which they raise different tokens most.
    pub favourites_differ: f64,
    /// Share of positions at which the base would choose different tokens with the one and with the other.
    pub choices_differ: f64,
}

impl Influence {
    /// Takes the means; all explanations are of the same values.
    pub fn of(explained: &[&TokenExplanation]) -> Self {
        let own = |value: usize| effect(explained, |explained| explained.values[value]);
        let count = explained.first().map_or(0, |first| first.values.len());
        let pairs = (0..count).flat_map(|second| (0..second).map(move |first| (first, second)));
        let disagreement = |(at, (first, second)): (usize, (usize, usize))| {
            let conflicts = || explained.iter().map(move |explained| explained.conflicts[at]);
            let cosines: Vec<f64> = conflicts().filter_map(|conflict| conflict.cosine).collect();
            Disagreement {
                first,
                second,
                cosine: mean(&cosines).mean,
                favourites_differ: share(conflicts().map(|conflict| conflict.favourites_differ)),
                choices_differ: share(conflicts().map(|conflict| conflict.choices_differ)),
            }
        };
        let entropies: Vec<f64> = explained.iter().map(|explained| explained.base.entropy).collect();
        Self {
            tokens: explained.len(),
            all: effect(explained, |explained| explained.change),
            base_entropy: mean(&entropies).mean,
            values: (0..count).map(own).collect(),
            conflicts: pairs.enumerate().map(disagreement).collect(),
        }
    }
}

fn effect(
    explained: &[&TokenExplanation],
    of: impl Fn(&TokenExplanation) -> DistributionChange,
) -> MeanChange {
    let changes: Vec<DistributionChange> = explained.iter().map(|explained| of(explained)).collect();
    let figures = |figure: fn(&DistributionChange) -> f32| -> f64 {
        mean(&changes.iter().map(|change| f64::from(figure(change))).collect::<Vec<_>>()).mean
    };
    MeanChange {
        delta: figures(|change| change.delta),
        flips: share(changes.iter().map(|change| change.flip)),
        kl: figures(|change| change.kl),
    }
}

fn share(of: impl Iterator<Item = bool>) -> f64 {
    mean(&of.map(|is| f64::from(u8::from(is))).collect::<Vec<_>>()).mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand() {
        let base = [0.0_f32, 0.0];
        // The first value raises token 0, the second token 1 as much; at the other place both raise token 0.
        let against = TokenExplanation::between(&[&base, &[1.0, 0.0], &[1.0, 1.0]], 0);
        let together = TokenExplanation::between(&[&base, &[1.0, 0.0], &[2.0, 0.0]], 0);
        let influence = Influence::of(&[&against, &together]);
        let log_p = |logit: f64| logit - (logit.exp() + 1.0).ln();
        let half = -std::f64::consts::LN_2;
        assert!((influence.all.delta - (log_p(2.0) - half) / 2.0).abs() < 1e-6);
        let first = f64::midpoint(half - log_p(-1.0), log_p(2.0) - log_p(1.0));
        assert!((influence.values[0].delta - first).abs() < 1e-6);
        let [conflict] = influence.conflicts[..] else { panic!("one pair") };
        assert_eq!((conflict.first, conflict.second, conflict.cosine), (0, 1, 0.0));
        assert_eq!((conflict.favourites_differ, conflict.choices_differ), (0.5, 0.5));
        assert_eq!((influence.tokens, influence.all.flips), (2, 0.0));
        assert!(Influence::of(&[]).all.delta.is_nan());
    }
}
