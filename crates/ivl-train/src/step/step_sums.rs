//! Sums over the micro-batches of a step.

use std::time::Instant;

use crate::objective::preference::PairSums;
use crate::run::report::StepReport;
use crate::step::learner::MicroBatchLosses;

/// Sums over micro-batches, in f64.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepSums {
    /// What is minimised, without the penalties, weighted over the bases.
    pub loss: f64,
    norm: f64,
    kl: f64,
    by_base: Vec<f64>,
    tokens: usize,
    /// Over the pairs and bases, unweighted.
    pairs: PairSums,
    /// Pairs, each counted once.
    distinct_pairs: usize,
}

impl StepSums {
    pub(crate) fn add(&mut self, losses: &MicroBatchLosses) {
        self.by_base.resize(losses.terms.len(), 0.0);
        for (base, (terms, weight)) in losses.terms.iter().zip(&losses.weights).enumerate() {
            let [_, norm, _, kl, _] = terms.read();
            let loss = losses.of_base(base);
            self.loss += weight * loss;
            self.norm += weight * norm;
            self.kl += weight * kl;
            self.by_base[base] += loss;
        }
        losses.pairs.iter().for_each(|pairs| self.pairs.merge(pairs));
        self.distinct_pairs += losses.pairs.first().map_or(0, |pairs| pairs.pairs);
        self.tokens += losses.tokens;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.norm += other.norm;
        self.kl += other.kl;
        self.by_base.resize(self.by_base.len().max(other.by_base.len()), 0.0);
        for (sum, loss) in self.by_base.iter_mut().zip(&other.by_base) {
            *sum += loss;
        }
        self.tokens += other.tokens;
        self.pairs.merge(&other.pairs);
        self.distinct_pairs += other.distinct_pairs;
    }

    /// What the losses are averaged over: pairs, or trained tokens.
    fn count(&self) -> f64 {
        if self.distinct_pairs > 0 { self.distinct_pairs as f64 } else { self.tokens.max(1) as f64 }
    }

    /// Mean loss of a trained token, or of a pair, against each base.
    pub(crate) fn base_losses(&self) -> Vec<f64> {
        self.by_base.iter().map(|loss| loss / self.count()).collect()
    }

    pub(crate) fn report(
        &self,
        step: usize,
        gradient_norm: f64,
        learning_rate: f64,
        began: Instant,
    ) -> StepReport {
        let tokens = self.tokens.max(1) as f64;
        StepReport {
            step,
            loss: self.loss / self.count(),
            value_norm: self.norm / tokens,
            kl: self.kl / tokens,
            accuracy: self.pairs.accuracy(),
            margin: self.pairs.mean_margin(),
            gradient_norm,
            learning_rate,
            tokens: self.tokens,
            tokens_per_second: tokens / began.elapsed().as_secs_f64().max(1e-9),
        }
    }
}
