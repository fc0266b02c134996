//! What a gate is fitted to: at each token of some answers, its features, and the losses at a grid of its values.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use ivl_core::causal_lm::Positions;
use ivl_core::fusion::LearnedGate;
use ivl_core::row_chunks::row_chunks;
use ivl_core::tokens::{to_host, token_tensor};
use ivl_core::{Error, ValueStack};

use crate::transfer::{IMPOSSIBLE, Pass, Passage};

/// Numbers of a gate's features.
pub(super) const FEATURES: usize = LearnedGate::FEATURES.len();

/// Points of the grid of `g`, from 0 to 2.
const POINTS: usize = 21;

/// Numbers held per logit at a time: logits of base and value, log-probabilities, intermediate results.
const HELD: usize = 16;

/// At each token of some answers, what a [`LearnedGate`] reads, and the losses at `g = 0, 0.1, .., 2` in its place. That is 29
/// numbers for each token, whatever the vocabulary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GateObservations {
    pub(super) positions: Vec<Observation>,
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    /// The passage that it belongs to.
    pub(super) passage: usize,
    pub(super) features: [f64; FEATURES],
    /// Losses in nats, at equal steps of `g`.
    pub(super) losses: [f32; POINTS],
}

impl Observation {
    /// The loss at `g` and its derivative, by linear interpolation between the points of the grid.
    pub(super) fn loss(&self, g: f64) -> (f64, f64) {
        let steps = (POINTS - 1) as f64 / 2.0;
        let place = (g * steps).clamp(0.0, (POINTS - 1) as f64);
        let low = (place as usize).min(POINTS - 2);
        let [before, after] = [self.losses[low], self.losses[low + 1]].map(f64::from);
        let share = place - low as f64;
        ((1.0 - share) * before + share * after, steps * (after - before))
    }
}

impl GateObservations {
    /// Reads passages once with a base and one value: `l = b + alpha g v`. The value must have no gate, since its own logits are
    /// wanted. Memory beside the models' is 29 numbers for each token, and logits in chunks.
    ///
    /// `progress` receives the passages read so far.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::TextTooLong`] or [`Error::TokenOutOfRange`].
    ///
    /// # Panics
    /// Unless the model has exactly one value.
    pub fn read(
        lm: &dyn ValueStack,
        alpha: f64,
        passages: &[Passage],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        assert_eq!(lm.num_values(), 1, "a gate is fitted for one value");
        let mut all = Self::default();
        Pass::over(passages, lm, progress, |pass| all.read_pass(lm, alpha, pass))?;
        Ok(all)
    }

    fn read_pass(&mut self, lm: &dyn ValueStack, alpha: f64, pass: &Pass) -> Result<(), Error> {
        let device = lm.device();
        let (tokens, mut cache) = pass.open(lm);
        let components = lm.component_logits(tokens, Positions::Indices(&pass.positions), &mut cache)?;
        for rows in row_chunks(pass.targets.len(), HELD * lm.vocab().size()) {
            let parts = components.rows(rows.clone());
            let targets = &pass.targets[rows.clone()];
            let column = token_tensor(targets, targets.len(), &device);
            let mut columns: Vec<Tensor<2>> = (0..POINTS)
                .map(|point| {
                    let g = 2.0 * point as f64 / (POINTS - 1) as f64;
                    let logits = parts.weighted(&[alpha * g]).clamp_min(IMPOSSIBLE);
                    log_softmax(logits, 1).gather(1, column.clone()).neg()
                })
                .collect();
            columns.extend(parts.gate_features(0));
            let numbers: Vec<f32> = to_host(Tensor::cat(columns, 1));
            for (row, &passage) in numbers.chunks(POINTS + FEATURES).zip(&pass.owners[rows]) {
                let (losses, features) = row.split_at(POINTS);
                self.positions.push(Observation {
                    passage,
                    features: std::array::from_fn(|index| f64::from(features[index])),
                    losses: std::array::from_fn(|point| losses[point]),
                });
            }
        }
        Ok(())
    }

    /// Those of the passages with these indices.
    #[must_use]
    pub fn of_passages(&self, is_one: impl Fn(usize) -> bool) -> Self {
        let positions = self.positions.iter().filter(|position| is_one(position.passage));
        Self { positions: positions.cloned().collect() }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// The mean loss in nats per token with a constant in the gate's place, between points of the grid by linear interpolation.
    pub fn mean_loss(&self, g: f64) -> f64 {
        let sum: f64 = self.positions.iter().map(|position| position.loss(g).0).sum();
        sum / self.positions.len() as f64
    }

    /// The point of the grid with the least mean loss.
    pub fn best_constant(&self) -> f64 {
        let points = (0..POINTS).map(|point| 2.0 * point as f64 / (POINTS - 1) as f64);
        points.min_by(|a, b| self.mean_loss(*a).total_cmp(&self.mean_loss(*b))).unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_interpolated_between_the_points() {
        // The loss (g - 1)^2.
        let losses = std::array::from_fn(|point| (point as f32 / 10.0 - 1.0).powi(2));
        let position = |passage| Observation { passage, features: [0.0; FEATURES], losses };
        let (at_point, _) = position(0).loss(0.3);
        assert!((at_point - 0.49).abs() < 1e-6, "{at_point}");
        // Between 0.49 and 0.36.
        let (between, slope) = position(0).loss(0.35);
        assert!((between - 0.425).abs() < 1e-6 && (slope + 1.3).abs() < 1e-5, "{between} {slope}");
        assert!((position(0).loss(2.0).0 - 1.0).abs() < 1e-6);
        let all = GateObservations { positions: vec![position(0), position(1), position(1)] };
        assert_eq!((all.best_constant(), all.tokens()), (1.0, 3));
        assert!((all.mean_loss(0.0) - 1.0).abs() < 1e-6);
        assert_eq!(all.of_passages(|passage| passage == 1).tokens(), 2);
    }
}
