//! Savings of gates, computed from one ungated pass.

use ivl_core::score::TokenExplanation;

/// Where a gate is put: one threshold and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatePoint {
    /// The threshold, as in [`Gate`](ivl_core::fusion::Gate).
    pub threshold: f64,
    /// Share of positions at which the values would not be consulted. In decoding it is the share of their passes that is
    /// saved, since what was missed is read in the next pass.
    pub skipped: f64,
    /// Share of positions at which the most probable token is the same with the gate and without.
    pub agreement: f64,
}

/// The quantity of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateSignal {
    /// The base's entropy: consulted above.
    Entropy,
    /// The base's margin: consulted below.
    Margin,
}

impl GateSignal {
    /// The word of [`Gate`](ivl_core::fusion::Gate).
    pub fn name(self) -> &'static str {
        match self {
            Self::Entropy => "entropy",
            Self::Margin => "margin",
        }
    }

    /// Larger where the base is less sure.
    fn doubt(self, explained: &TokenExplanation) -> f64 {
        match self {
            Self::Entropy => explained.base.entropy,
            Self::Margin => -explained.base.margin,
        }
    }

    /// The threshold of a gate that stays shut up to some doubt.
    fn threshold(self, doubt: f64) -> f64 {
        match self {
            Self::Entropy => doubt,
            Self::Margin => -doubt,
        }
    }
}

/// The whole curve, from no position skipped to all: a point for every threshold at which something changes.
///
/// Where a gate is shut the base chooses, where it is open base and values do; under teacher forcing the text is the same,
/// so one pass over it measures every threshold.
pub fn gate_curve(signal: GateSignal, explained: &[&TokenExplanation]) -> Vec<GatePoint> {
    let mut seen: Vec<(f64, bool)> =
        explained.iter().map(|explained| (signal.doubt(explained), !explained.change.flip)).collect();
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = seen.len() as f64;
    let (mut skipped, mut agreeing) = (0.0, count);
    let mut curve = Vec::new();
    for same in seen.chunk_by(|a, b| a.0 == b.0) {
        skipped += same.len() as f64;
        agreeing -= same.iter().filter(|(_, agrees)| !agrees).count() as f64;
        curve.push(GatePoint {
            threshold: signal.threshold(same[0].0),
            skipped: skipped / count,
            agreement: agreeing / count,
        });
    }
    curve
}

/// The point that skips most with at least this agreement.
pub fn most_skipped(curve: &[GatePoint], agreement: f64) -> Option<GatePoint> {
    curve.iter().rev().find(|point| point.agreement >= agreement).copied()
}

/// Savings of skipping random positions at the same agreement: `(1 - agreement) / flips`, the floor of every gate.
pub fn skipped_at_random(flips: f64, agreement: f64) -> f64 {
    if flips <= 1.0 - agreement { 1.0 } else { (1.0 - agreement) / flips }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base that is the surer the larger `logit`, with a value that flips the choice or not.
    fn explained(logit: f32, flips: bool) -> TokenExplanation {
        let base = [logit, 0.0];
        let fused = if flips { [0.0, logit] } else { base };
        TokenExplanation::between(&[&base, &fused], 0)
    }

    #[test]
    fn every_threshold_is_what_counting_gives() {
        let all = [(3.0, false), (2.0, false), (1.0, true), (0.5, false), (0.25, true)];
        let all: Vec<TokenExplanation> = all.map(|(logit, flips)| explained(logit, flips)).to_vec();
        let all: Vec<&TokenExplanation> = all.iter().collect();
        for signal in [GateSignal::Entropy, GateSignal::Margin] {
            let curve = gate_curve(signal, &all);
            assert_eq!(curve.len(), 5);
            for point in &curve {
                let gate = match signal {
                    GateSignal::Entropy => ivl_core::fusion::Gate::Entropy { above: point.threshold },
                    GateSignal::Margin => ivl_core::fusion::Gate::Margin { below: point.threshold },
                };
                let open = |logit: f32| gate.opens(&[logit, 0.0], 0);
                let skipped = [3.0, 2.0, 1.0, 0.5, 0.25].iter().filter(|&&logit| !open(logit)).count();
                assert_eq!(point.skipped, skipped as f64 / 5.0, "{gate}");
                let wrong = [1.0, 0.25].iter().filter(|&&logit| !open(logit)).count();
                assert_eq!(point.agreement, 1.0 - wrong as f64 / 5.0, "{gate}");
            }
            assert_eq!(most_skipped(&curve, 1.0).map(|point| point.skipped), Some(0.4));
            assert_eq!(most_skipped(&curve, 0.8).map(|point| point.skipped), Some(0.8));
        }
        assert!(most_skipped(&[], 0.5).is_none());
        assert_eq!((skipped_at_random(0.5, 0.75), skipped_at_random(0.1, 0.8)), (0.5, 1.0));
    }
}
