//! The log-probabilities of the answers of a micro-batch of pairs, and what its tokens weigh in the loss.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Tensor};
use ivl_core::fusion::fuse;
use ivl_core::row_chunks::row_ranges;
use ivl_core::tokens::is_host;
use ivl_kernels::logprobs;
use ivl_models::Transformer;

use crate::config::DpoConfig;
use crate::data::batch::{Batch, index_tensor};
use crate::objective::preference::{AnswerLogprobs, PairLoss, PairSums};
use crate::step::forward::HeadGroup;

/// The pairs of a micro-batch against one base.
pub(crate) struct MicroBatchPairs {
    losses: Vec<PairLoss>,
}

impl MicroBatchPairs {
    /// The pairs of a micro-batch against each base of a group. The heads are computed `head_rows` positions at a time, without
    /// gradients: the weight of a token in the loss depends on both answers as a whole.
    pub(crate) fn new(
        dpo: &DpoConfig,
        value: &Transformer,
        group: &HeadGroup<'_>,
        batch: &Batch,
        head_rows: usize,
    ) -> Vec<Self> {
        let rows_of = batch.position_rows();
        let hidden = group.hidden.clone();
        let hidden = if hidden.device().is_autodiff() { hidden.inner() } else { hidden };
        let mut answers = vec![vec![AnswerLogprobs::default(); batch.rows]; group.bases.len()];
        // Drawn again in the same order when the loss is computed.
        let mut perturbations: Vec<_> = group.bases.iter().map(|base| base.perturbation.clone()).collect();
        for rows in row_ranges(group.targets.len(), head_rows) {
            let logits = value.head_rows(hidden.clone().slice([rows.clone()]));
            let targets = &group.targets[rows.clone()];
            for (index, base) in group.bases.iter().enumerate() {
                let base_logits = base.perturbed_logits(rows.clone(), &mut perturbations[index]);
                let fused = fuse(base_logits.clone(), base.mapped(logits.clone()), 1.0);
                let [fused, alone] = [fused, base_logits].map(|logits| target_logprobs(logits, targets));
                for (at, &row) in rows_of[rows.clone()].iter().enumerate() {
                    let answer = &mut answers[index][row];
                    answer.fused += fused[at];
                    answer.base += alone[at];
                    answer.tokens += 1;
                }
            }
        }
        let pair = |answers: &[AnswerLogprobs]| dpo.pair_loss([answers[0], answers[1]]);
        let pairs =
            |answers: Vec<AnswerLogprobs>| Self { losses: answers.chunks_exact(2).map(pair).collect() };
        answers.into_iter().map(pairs).collect()
    }

    /// The weights of the tokens' cross-entropies with which their mean over the tokens of the step has the derivative of the
    /// mean loss of its pairs:
    ///
    /// ```text
    /// w_i = -dL / d log p[y_i] * tokens of the step / pairs of the step
    /// ```
    pub(crate) fn token_weights(&self, batch: &Batch) -> Vec<f32> {
        let factor = batch.step_tokens as f64 / (batch.step_examples / 2).max(1) as f64;
        let weight = |row: usize| -self.losses[row / 2].by_logprob[row % 2] * factor;
        batch.position_rows().into_iter().map(|row| weight(row) as f32).collect()
    }

    /// Their sums.
    pub(crate) fn sums(&self) -> PairSums {
        let mut sums = PairSums::default();
        self.losses.iter().for_each(|pair| sums.add(pair));
        sums
    }
}

/// `log softmax(logits)[target]` of each row, in nats.
fn target_logprobs(logits: Tensor<2>, targets: &[u32]) -> Vec<f64> {
    let logits = logits.cast(DType::F32);
    if is_host(&logits.device()) {
        let logits = logits.into_data();
        let found = logprobs(logits.as_slice().expect("logits in f32"), targets);
        return found.into_iter().map(|(logprob, _)| f64::from(logprob)).collect();
    }
    let targets = index_tensor(targets, &logits.device());
    let found = log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1));
    found.into_data().iter::<f64>().collect()
}
