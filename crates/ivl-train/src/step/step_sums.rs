//! Sums over the micro-batches of a step.

use std::time::Instant;

use crate::run::report::StepReport;
use crate::step::learner::MicroBatchLosses;

/// Sums over micro-batches, in f64.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepSums {
    /// Cross-entropy, weighted over the bases.
    pub loss: f64,
    norm: f64,
    kl: f64,
    by_base: Vec<f64>,
    tokens: usize,
}

impl StepSums {
    pub(crate) fn add(&mut self, losses: &MicroBatchLosses) {
        self.by_base.resize(losses.terms.len(), 0.0);
        for ((terms, weight), by_base) in losses.terms.iter().zip(&losses.weights).zip(&mut self.by_base) {
            let [loss, norm, _, kl] = terms.read();
            self.loss += weight * loss;
            self.norm += weight * norm;
            self.kl += weight * kl;
            *by_base += loss;
        }
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
    }

    /// Mean cross-entropy of a trained token against each base.
    pub(crate) fn base_losses(&self) -> Vec<f64> {
        self.by_base.iter().map(|loss| loss / self.tokens.max(1) as f64).collect()
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
            loss: self.loss / tokens,
            value_norm: self.norm / tokens,
            kl: self.kl / tokens,
            gradient_norm,
            learning_rate,
            tokens: self.tokens,
            tokens_per_second: tokens / began.elapsed().as_secs_f64().max(1e-9),
        }
    }
}
