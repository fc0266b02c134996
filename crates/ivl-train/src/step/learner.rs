//! The value in training: a module, and the gradient of its loss on a micro-batch.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use ivl_core::fusion::predictions;
use ivl_core::row_chunks::{LogitBudget, row_ranges};
use ivl_models::Transformer;
use ivl_models::transformer::{constant, with_gradient};

use ivl_models::Connection;

use crate::Error;
use crate::bases::{Split, Teacher};
use crate::config::{RegularizationConfig, TrainConfig};
use crate::data::batch::Batch;
use crate::objective::criterion::Criterion;
use crate::objective::loss::{Terms, differentiable_loss};
use crate::objective::preference::PairSums;
use crate::step::forward::{BaseForward, BaseTarget, BatchForward, ForwardConfig, HeadGroup, forward};
use crate::step::pairs::MicroBatchPairs;
use crate::step::trained_first::TrainedFirst;

/// Logits held at once where the configuration does not say.
const LOGIT_BUDGET: LogitBudget = LogitBudget::mebibytes(128);

/// The network that is trained. The frozen bases are no part of it: their logits come with each micro-batch, as constants.
#[derive(Module, Debug)]
pub struct ValueLearner {
    /// The network.
    pub value: Transformer,
    #[module(skip)]
    settings: LearnerSettings,
}

/// Inputs and objective of a [`ValueLearner`].
#[derive(Debug, Clone, Default)]
pub struct LearnerSettings {
    /// The input of the network.
    pub connection: Connection,
    /// What is minimised besides the penalties.
    pub criterion: Criterion,
    /// Weights of the penalties.
    pub regularization: RegularizationConfig,
    /// Rows that go through the heads at once; 0 chooses.
    pub head_rows: usize,
}

impl LearnerSettings {
    /// The settings of a run.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            connection: config.value.connection,
            criterion: Criterion::new(config),
            regularization: config.regularization.clone(),
            head_rows: config.steps.head_rows,
        }
    }
}

/// The gradient of a micro-batch, and its losses.
pub struct MicroBatchGradients {
    /// By the parameters of the value.
    pub gradients: GradientsParams,
    /// The minimised loss.
    pub losses: MicroBatchLosses,
}

/// The losses of a micro-batch.
#[derive(Debug, Clone)]
pub struct MicroBatchLosses {
    /// Sums over the trained tokens, for each base in the order given; one where there is no base.
    pub terms: Vec<Terms>,
    /// Sums over the pairs of a [`Criterion::Preference`], for each base.
    pub pairs: Vec<PairSums>,
    /// What is minimised of them.
    pub criterion: Criterion,
    /// The weights of the bases.
    pub weights: Vec<f64>,
    /// Trained tokens.
    pub tokens: usize,
}

impl ValueLearner {
    /// A value to train.
    pub fn new(value: Transformer, settings: LearnerSettings) -> Self {
        Self { value, settings }
    }

    /// Loss and gradients of a micro-batch against some bases; against none the network is trained by itself. A
    /// [`Criterion::Distill`] needs a teacher.
    ///
    /// The heads of base and value are computed for some rows at a time, and the gradient of the loss by the logits is
    /// known in closed form: the logits of a whole batch are never in memory.
    ///
    /// # Errors
    /// [`Error::NotCached`] for logits that a base does not give.
    pub fn gradients(
        &self,
        batch: &Batch,
        targets: Vec<BaseTarget<'_>>,
        teacher: Option<&Teacher>,
    ) -> Result<MicroBatchGradients, Error> {
        let config = ForwardConfig {
            cascade: self.settings.connection.cascade_input(),
            head_rows: self.head_rows(),
            split: Split::Train,
            teacher,
        };
        let weights =
            if targets.is_empty() { vec![1.0] } else { targets.iter().map(|base| base.weight).collect() };
        let mut accumulated = Accumulated::new(weights.len());
        for targets in config.group(targets) {
            let forward = forward(&self.value, config, batch, targets)?;
            self.backward(forward, batch, &mut accumulated);
        }
        let device = self.value.device();
        let terms = accumulated.terms.into_iter().map(|terms| terms.unwrap_or_else(|| Terms::zero(&device)));
        let (terms, tokens) = (terms.collect(), batch.targets.len());
        let (pairs, criterion) = (accumulated.pairs, self.settings.criterion);
        let losses = MicroBatchLosses { terms, pairs, criterion, weights, tokens };
        Ok(MicroBatchGradients { gradients: accumulated.gradients.grads(), losses })
    }

    /// Accumulates losses and gradients of a forward pass.
    fn backward(&self, forward: BatchForward<'_>, batch: &Batch, accumulated: &mut Accumulated) {
        let BatchForward { groups, features } = forward;
        let (mut surrogate, mut bases) = (None, Vec::new());
        for mut group in groups {
            let by_hidden = self.through_head(&mut group, batch, accumulated);
            surrogate = add(surrogate, Some(with_gradient(group.hidden, |_| by_hidden)));
            bases.extend(group.bases);
        }
        // Frozen weights leave nothing to follow back.
        let Some(surrogate) = surrogate.filter(Tensor::is_tracked) else { return };
        let backward = surrogate.backward();
        let by_features = features.as_ref().and_then(|features| features.embeddings.grad(&backward));
        accumulated.gradients.accumulate(self, GradientsParams::from_grads(backward, self));
        if let (Some(features), Some(by_features), Some(base)) = (features, by_features, bases.first()) {
            self.backward_features(base, &features.order, by_features, accumulated);
        }
    }

    /// The gradient of the embedding that a base's predictions were multiplied with. The predictions are computed again.
    ///
    /// # Shapes
    /// - `by_features`: `[rows * seq, hidden]`
    fn backward_features(
        &self,
        base: &BaseForward<'_>,
        order: &TrainedFirst,
        by_features: Tensor<2>,
        accumulated: &mut Accumulated,
    ) {
        let by_features = order.reorder(by_features);
        for rows in row_ranges(order.positions.len(), self.head_rows()) {
            let predicted = predictions(base.raw_logits(rows.clone()), self.value.config().vocab_size);
            let embedded = self.value.expected_embedding(constant(predicted, &self.value.device()));
            let surrogate = with_gradient(embedded, |_| by_features.clone().slice([rows]));
            if surrogate.is_tracked() {
                accumulated
                    .gradients
                    .accumulate(self, GradientsParams::from_grads(surrogate.backward(), self));
            }
        }
    }

    /// The gradient of the loss by the hidden states of a group. Accumulates its terms and the gradients of the head.
    ///
    /// # Shapes
    /// - output: `[n, hidden]`
    fn through_head(
        &self,
        group: &mut HeadGroup<'_>,
        batch: &Batch,
        accumulated: &mut Accumulated,
    ) -> Tensor<2> {
        let constants = group.hidden.clone().inner();
        let LearnerSettings { regularization: weights, criterion, .. } = &self.settings;
        let by_pairs = self.pair_weights(group, batch, accumulated);
        let mut by_hidden = Vec::new();
        for rows in row_ranges(group.targets.len(), self.head_rows()) {
            let leaf = constant(constants.clone().slice([rows.clone()]), &self.value.device()).require_grad();
            let logits = self.value.head_rows(leaf.clone());
            let mut surrogate = None;
            if group.bases.is_empty() {
                let scale = 1.0 / batch.step_tokens as f64;
                let tokens = criterion.token_weights(rows.len());
                let targets = group.targets(rows, logits.dims()[1], tokens);
                let (terms, term) = differentiable_loss(None, logits, targets, weights, scale);
                accumulated.add_terms(0, terms);
                surrogate = term;
            } else {
                // The last base gets the logits themselves, not a copy: the loss can work in their memory.
                let copies = std::iter::repeat_n(logits, group.bases.len());
                for (index, logits) in copies.enumerate() {
                    let base_logits = group.bases[index].logits(rows.clone());
                    let tokens = match &by_pairs {
                        Some(weights) => Some(weights[index][rows.clone()].to_vec()),
                        None => criterion.token_weights(rows.len()),
                    };
                    let targets = group.targets(rows.clone(), base_logits.dims()[1], tokens);
                    let base = &group.bases[index];
                    let (terms, term) = base.loss(base_logits, logits, targets, weights, batch.step_tokens);
                    accumulated.add_terms(base.index, terms);
                    surrogate = add(surrogate, term);
                }
            }
            let Some(surrogate) = surrogate else { continue };
            let backward = surrogate.backward();
            by_hidden.extend(leaf.grad(&backward));
            accumulated.gradients.accumulate(self, GradientsParams::from_grads(backward, self));
        }
        Tensor::cat(by_hidden, 0)
    }

    /// For each base of a group, the weights that pairs of answers give their tokens; `None` for another criterion. Accumulates
    /// the sums over the pairs.
    fn pair_weights(
        &self,
        group: &HeadGroup<'_>,
        batch: &Batch,
        accumulated: &mut Accumulated,
    ) -> Option<Vec<Vec<f32>>> {
        let Criterion::Preference(dpo) = &self.settings.criterion else { return None };
        let pairs = MicroBatchPairs::new(dpo, &self.value.valid(), group, batch, self.head_rows());
        for (base, pairs) in group.bases.iter().zip(&pairs) {
            accumulated.pairs[base.index].merge(&pairs.sums());
        }
        Some(pairs.iter().map(|pairs| pairs.token_weights(batch)).collect())
    }

    /// Rows that go through the heads at once.
    fn head_rows(&self) -> usize {
        match self.settings.head_rows {
            0 => LOGIT_BUDGET.rows(self.value.config().vocab_size),
            rows => rows,
        }
    }
}

/// Sums over the forward passes of a micro-batch.
struct Accumulated {
    gradients: GradientsAccumulator<ValueLearner>,
    /// For each base; none before its first row.
    terms: Vec<Option<Terms>>,
    pairs: Vec<PairSums>,
}

impl Accumulated {
    fn new(bases: usize) -> Self {
        let (terms, pairs) = (vec![None; bases], vec![PairSums::default(); bases]);
        Self { gradients: GradientsAccumulator::new(), terms, pairs }
    }

    fn add_terms(&mut self, index: usize, terms: Terms) {
        let sum = &mut self.terms[index];
        *sum = Some(match sum.take() {
            Some(sum) => sum.plus(terms),
            None => terms,
        });
    }
}

fn add(sum: Option<Tensor<1>>, term: Option<Tensor<1>>) -> Option<Tensor<1>> {
    match (sum, term) {
        (Some(sum), Some(term)) => Some(sum + term),
        (sum, term) => sum.or(term),
    }
}

impl MicroBatchLosses {
    /// What is minimised against a base, summed, without the penalties.
    pub(crate) fn of_base(&self, base: usize) -> f64 {
        match self.criterion {
            Criterion::Preference(_) => self.pairs[base].loss,
            criterion => criterion.total(&self.terms[base]),
        }
    }

    /// The terms of all bases, weighted.
    pub fn mean_terms(&self) -> Option<Terms> {
        let mut terms = self.terms.iter().cloned().zip(self.weights.iter().copied());
        let (first, weight) = terms.next()?;
        Some(terms.fold(first.times(weight), |sum, (terms, weight)| sum.plus(terms.times(weight))))
    }
}
