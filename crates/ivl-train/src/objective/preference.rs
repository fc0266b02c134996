//! The loss of a pair of answers, and its derivative by their log-probabilities.

use crate::config::{DpoConfig, PreferenceLoss};

/// The log-probabilities of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerLogprobs {
    /// Sum over its tokens under the fused model, in nats.
    pub fused: f64,
    /// The same under the base.
    pub base: f64,
    /// Its tokens.
    pub tokens: usize,
}

/// The loss of one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative by the log-probability of a token of the chosen and of the rejected answer.
    pub by_logprob: [f64; 2],
    /// `beta` times what the fused model adds to the log-probability of the chosen answer, minus the same of the rejected
    /// one: the difference of their rewards.
    pub margin: f64,
}

/// Sums over pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PairSums {
    /// Pairs.
    pub pairs: usize,
    /// Of the losses.
    pub loss: f64,
    /// Of the margins.
    pub margin: f64,
    /// Pairs with a margin above 0.
    pub correct: usize,
}

impl DpoConfig {
    /// The loss of a pair, of which the chosen answer comes first. The definition is that of [`DpoConfig`]; the margin is the
    /// difference of rewards as TRL reports it, of sums in every case.
    pub fn pair_loss(&self, answers: [AnswerLogprobs; 2]) -> PairLoss {
        let averages = self.length_normalized || self.loss == PreferenceLoss::Ipo;
        let share = answers.map(|answer| if averages { 1.0 / answer.tokens.max(1) as f64 } else { 1.0 });
        let [chosen, rejected] = answers.map(|answer| answer.fused - answer.base);
        let (loss, slope) = self.of_difference(share[0] * chosen - share[1] * rejected);
        PairLoss {
            loss,
            by_logprob: [slope * share[0], -slope * share[1]],
            margin: self.beta * (chosen - rejected),
        }
    }

    /// The loss of a pair on which fused model and base agree.
    pub(crate) fn loss_of_base(&self) -> f64 {
        self.of_difference(0.0).0
    }

    /// The loss of a difference `h` of log-ratios, and its derivative by it.
    fn of_difference(&self, h: f64) -> (f64, f64) {
        let beta = self.beta;
        match self.loss {
            PreferenceLoss::Sigmoid => {
                let (right, wrong) = (1.0 - self.label_smoothing, self.label_smoothing);
                let loss = right * softplus(-beta * h) + wrong * softplus(beta * h);
                (loss, beta * (wrong * sigmoid(beta * h) - right * sigmoid(-beta * h)))
            }
            PreferenceLoss::Ipo => {
                let distance = h - 0.5 / beta;
                (distance * distance, 2.0 * distance)
            }
        }
    }
}

/// `log(1 + e^x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    (-softplus(-x)).exp()
}

impl PairSums {
    /// Adds a pair.
    pub(crate) fn add(&mut self, pair: &PairLoss) {
        self.pairs += 1;
        self.loss += pair.loss;
        self.margin += pair.margin;
        self.correct += usize::from(pair.margin > 0.0);
    }

    /// Adds the pairs of another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.margin += other.margin;
        self.correct += other.correct;
    }

    /// The share of the pairs whose chosen answer has the larger reward; `None` without pairs.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.correct as f64 / self.pairs as f64)
    }

    /// The mean margin; `None` without pairs.
    pub(crate) fn mean_margin(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.margin / self.pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_slopes() {
        let answers = [
            AnswerLogprobs { fused: -7.0, base: -9.0, tokens: 4 },
            AnswerLogprobs { fused: -3.0, base: -2.5, tokens: 2 },
        ];
        for loss in [PreferenceLoss::Sigmoid, PreferenceLoss::Ipo] {
            for length_normalized in [false, true] {
                let label_smoothing = if loss == PreferenceLoss::Ipo { 0.0 } else { 0.2 };
                let config = DpoConfig { beta: 0.7, loss, label_smoothing, length_normalized };
                let found = config.pair_loss(answers).by_logprob;
                for side in 0..2 {
                    let moved = |by: f64| {
                        let mut answers = answers;
                        answers[side].fused += by;
                        config.pair_loss(answers).loss
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((found[side] - slope).abs() < 1e-8, "{config:?}: {} for {slope}", found[side]);
                }
            }
        }
    }

    #[test]
    fn far_margins_stay_numbers() {
        let config = DpoConfig { beta: 1.0, ..Default::default() };
        let far = |fused: f64| {
            config.pair_loss([AnswerLogprobs { fused, base: 0.0, tokens: 1 }, AnswerLogprobs::default()])
        };
        assert_eq!((far(1e4).loss, far(1e4).by_logprob[0].abs()), (0.0, 0.0));
        assert_eq!((far(-1e4).loss, far(-1e4).by_logprob[0]), (1e4, -1.0));
        assert!((config.loss_of_base() - 2f64.ln()).abs() < 1e-12);
    }
}
