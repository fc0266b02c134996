//! The value as burn-train sees it: a module with a training step.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::VocabProjection;
use ivl_core::fusion::predictions;
use ivl_models::transformer::{constant, rows_at, with_gradient};
use ivl_models::{CascadeInput, Connection, Transformer};

use crate::bases::rewriting::Rewritten;
use crate::config::RegularizationConfig;
use crate::data::batch::{Batch, index_tensor};
use crate::objective::connection::{TrainedFirst, cascade_hidden, residual_hidden};
use crate::objective::loss::{Terms, mapped_loss, value_loss};
use crate::objective::perturbation::Perturbation;

/// Logits held at once where the configuration does not say: 128 MiB in f32.
const LOGITS_AT_ONCE: usize = 1 << 25;

/// The network that is trained. The frozen bases are no part of it: their logits come with each pass, as constants.
#[derive(Module, Debug)]
pub struct ValueLearner {
    /// The network.
    pub value: Transformer,
    #[module(skip)]
    settings: LearnerSettings,
}

/// How a [`ValueLearner`] reads and what it minimises.
#[derive(Debug, Clone, Default)]
pub struct LearnerSettings {
    /// What the network reads.
    pub connection: Connection,
    /// Weights of the penalties.
    pub regularization: RegularizationConfig,
    /// Positions that go through the heads at once; 0 chooses.
    pub head_rows: usize,
}

/// A base in a pass.
pub struct Against<'a> {
    /// Its weight in the loss.
    pub weight: f64,
    /// Its logits at the positions that [`ValueLearner::base_positions`] names.
    pub logits: SelectedLogits<'a>,
    /// From the value's vocabulary to the base's, on the value's device.
    pub projection: VocabProjection,
    /// What is done to its logits first.
    pub perturbation: Option<Perturbation>,
    /// The batch as the base reads it, if it cuts texts into other tokens.
    pub rewritten: Option<Rewritten>,
}

/// What a pass reports.
#[derive(Debug, Clone)]
pub struct PassOutput {
    /// Sums over the learnt tokens, for each base in the order given.
    pub terms: Vec<Terms>,
    /// The weights of the bases.
    pub weights: Vec<f64>,
    /// Learnt tokens.
    pub tokens: usize,
}

impl ValueLearner {
    /// A value to train.
    pub fn new(value: Transformer, settings: LearnerSettings) -> Self {
        Self { value, settings }
    }

    /// Positions of a batch at which a pass wants a base's logits: the trained ones, or all for a network that reads them.
    pub fn base_positions(&self, batch: &Batch) -> Vec<u32> {
        match self.settings.connection {
            Connection::Residual => batch.positions.clone(),
            _ => TrainedFirst::new(batch).positions,
        }
    }

    /// Loss and gradients of a pass against some bases, or by itself against none.
    ///
    /// The heads of base and value are computed for some positions at a time, and the gradient of the loss by the logits is
    /// known in closed form: at no time are the logits of a whole batch in memory.
    pub fn pass(&self, batch: &Batch, mut bases: Vec<Against<'_>>) -> TrainOutput<PassOutput> {
        let mut gradients = GradientsAccumulator::new();
        let terms = match self.settings.connection.cascade_input() {
            None => self.residual_pass(batch, &mut bases, &mut gradients),
            Some(input) => {
                let passes = bases.chunks_mut(1);
                passes.flat_map(|base| self.cascade_pass(input, batch, base, &mut gradients)).collect()
            }
        };
        let weights =
            if bases.is_empty() { vec![1.0] } else { bases.iter().map(|base| base.weight).collect() };
        let item = PassOutput { terms, weights, tokens: batch.targets.len() };
        TrainOutput { grads: gradients.grads(), item }
    }

    /// The network is run once. Bases that read the batch as it is are taken together, others each at their positions.
    fn residual_pass(
        &self,
        batch: &Batch,
        bases: &mut [Against<'_>],
        gradients: &mut GradientsAccumulator<Self>,
    ) -> Vec<Terms> {
        let all = residual_hidden(&self.value, batch, batch.tokens(&self.value.device()));
        let device = all.device();
        let mut surrogate: Option<Tensor<1>> = None;
        let mut terms = Vec::new();
        // Without a base there is one group of none. Their order is that of the reports: neighbours that read alike are
        // taken together.
        let alike = |a: &Against<'_>, b: &Against<'_>| a.rewritten.is_none() && b.rewritten.is_none();
        let groups: Vec<&mut [Against<'_>]> = match bases.is_empty() {
            true => vec![bases],
            false => bases.chunk_by_mut(alike).collect(),
        };
        for group in groups {
            let rewritten = group.first().and_then(|base| base.rewritten.clone());
            let (positions, targets) = match &rewritten {
                Some(rewritten) => (&rewritten.value_positions, &rewritten.batch.targets),
                None => (&batch.positions, &batch.targets),
            };
            if positions.is_empty() {
                terms.extend(group.iter().map(|_| Terms::zero(&device)));
                continue;
            }
            let hidden = rows_at(all.clone(), index_tensor(positions, &device));
            let targets = Targets { ids: targets, step_tokens: batch.step_tokens };
            let found = self.through_head(&hidden, &targets, group, gradients);
            terms.extend(found.terms);
            let term = with_gradient(hidden, |_| found.gradient);
            surrogate = Some(surrogate.map_or(term.clone(), |sum| sum + term));
        }
        if let Some(surrogate) = surrogate {
            self.accumulate(gradients, surrogate);
        }
        terms
    }

    fn cascade_pass(
        &self,
        input: CascadeInput,
        batch: &Batch,
        base: &mut [Against<'_>],
        gradients: &mut GradientsAccumulator<Self>,
    ) -> Vec<Terms> {
        let (order, chunk) = (TrainedFirst::new(batch), self.head_rows(self.value.config().vocab_size));
        let features = order.features(&self.value.valid(), &base[0].logits, chunk);
        let features = self.constant(features).require_grad();
        let tokens = batch.tokens(&self.value.device());
        let hidden = cascade_hidden(&self.value, input, batch, tokens, features.clone());
        let targets = Targets { ids: &batch.targets, step_tokens: batch.step_tokens };
        let found = self.through_head(&hidden, &targets, base, gradients);
        let backward = with_gradient(hidden, |_| found.gradient).backward();
        let by_features = features.grad(&backward);
        gradients.accumulate(self, GradientsParams::from_grads(backward, self));
        // The predictions are computed again, for the gradient of the embedding that they were multiplied with.
        if let Some(by_features) = by_features {
            let by_features = order.reorder(by_features);
            for start in (0..order.positions.len()).step_by(chunk) {
                let rows = start..(start + chunk).min(order.positions.len());
                let predicted =
                    predictions(base[0].logits.rows(rows.clone()), self.value.config().vocab_size);
                let embedded = self.value.expected_embedding(self.constant(predicted));
                let surrogate = with_gradient(embedded, |_| by_features.clone().slice([rows]));
                self.accumulate(gradients, surrogate);
            }
        }
        found.terms
    }

    /// Losses at the trained positions, from their hidden states, and their gradient by those; the gradients of the head are
    /// accumulated.
    fn through_head(
        &self,
        hidden: &Tensor<2>,
        targets: &Targets<'_>,
        bases: &mut [Against<'_>],
        gradients: &mut GradientsAccumulator<Self>,
    ) -> ThroughHead {
        let constant = hidden.clone().inner();
        let device = constant.device();
        let (n, vocab) = (constant.dims()[0], self.value.config().vocab_size);
        let chunk = self.head_rows(vocab);
        let mut terms: Vec<Option<Terms>> = vec![None; bases.len().max(1)];
        let mut by_hidden = Vec::new();
        for start in (0..n).step_by(chunk) {
            let rows = start..(start + chunk).min(n);
            let leaf = self.constant(constant.clone().slice([rows.clone()])).require_grad();
            let logits = self.value.head_rows(leaf.clone());
            let step_tokens = targets.step_tokens as f64;
            let targets = index_tensor(&targets.ids[rows.clone()], &device);
            let mut surrogate: Option<Tensor<1>> = None;
            let add = |base: Option<Tensor<2>>, value: Tensor<2>, weight: f64| {
                let mut terms = Terms::zero(&device);
                let term = with_gradient(value, |value| {
                    let weights = &self.settings.regularization;
                    let loss = value_loss(base, value, targets.clone(), weights, weight / step_tokens);
                    terms = loss.terms;
                    loss.gradient
                });
                (terms, term)
            };
            let mut sum_up = |term: Tensor<1>| {
                surrogate = Some(match surrogate.take() {
                    Some(sum) => sum + term,
                    None => term,
                });
            };
            if bases.is_empty() {
                let (found, term) = add(None, logits, 1.0);
                sum_into(&mut terms[0], found);
                sum_up(term);
            } else {
                // The last base gets the logits themselves: what nobody else holds need not be copied.
                let copies = std::iter::repeat_n(logits, bases.len());
                for ((base, logits), sum) in bases.iter_mut().zip(copies).zip(&mut terms) {
                    let base_logits = base.logits.rows(rows.clone());
                    let base_logits = match &mut base.perturbation {
                        Some(perturbation) => perturbation.apply(base_logits),
                        None => base_logits,
                    };
                    let value = base.projection.rows(logits);
                    let (found, term) = if base.rewritten.is_some() {
                        let base_logits = self.constant(base_logits.cast(DType::F32));
                        let weights = &self.settings.regularization;
                        let (found, loss) =
                            mapped_loss(&base.projection, base_logits, value, targets.clone(), weights);
                        (found, loss * (base.weight / step_tokens))
                    } else {
                        add(Some(base_logits), value, base.weight)
                    };
                    sum_into(sum, found);
                    sum_up(term);
                }
            }
            let Some(surrogate) = surrogate else { continue };
            let backward = surrogate.backward();
            by_hidden.extend(leaf.grad(&backward));
            gradients.accumulate(self, GradientsParams::from_grads(backward, self));
        }
        ThroughHead { terms: terms.into_iter().flatten().collect(), gradient: Tensor::cat(by_hidden, 0) }
    }

    /// A constant in the graph of the value.
    fn constant<const D: usize>(&self, inner: Tensor<D>) -> Tensor<D> {
        constant(inner, &self.value.device())
    }

    fn accumulate(&self, gradients: &mut GradientsAccumulator<Self>, surrogate: Tensor<1>) {
        // Frozen weights leave nothing to follow back.
        if surrogate.is_tracked() {
            gradients.accumulate(self, GradientsParams::from_grads(surrogate.backward(), self));
        }
    }

    /// Positions that go through the heads at once.
    fn head_rows(&self, vocab: usize) -> usize {
        match self.settings.head_rows {
            0 => (LOGITS_AT_ONCE / vocab).max(1),
            rows => rows,
        }
    }
}

/// What is to be predicted.
struct Targets<'a> {
    ids: &'a [u32],
    step_tokens: usize,
}

struct ThroughHead {
    terms: Vec<Terms>,
    gradient: Tensor<2>,
}

fn sum_into(sum: &mut Option<Terms>, terms: Terms) {
    *sum = Some(match sum.take() {
        Some(sum) => sum.plus(terms),
        None => terms,
    });
}

/// What burn-train asks of a module. Our loop calls [`ValueLearner::pass`], since bases are no part of a batch.
impl TrainStep for ValueLearner {
    type Input = Batch;
    type Output = PassOutput;

    fn step(&self, batch: Batch) -> TrainOutput<PassOutput> {
        self.pass(&batch, Vec::new())
    }
}

impl InferenceStep for ValueLearner {
    type Input = Batch;
    type Output = PassOutput;

    fn step(&self, batch: Batch) -> PassOutput {
        self.pass(&batch, Vec::new()).item
    }
}

impl PassOutput {
    /// The terms of all bases, weighted.
    pub fn mean_terms(&self) -> Option<Terms> {
        let mut terms = self.terms.iter().cloned().zip(self.weights.iter().copied());
        let (first, weight) = terms.next()?;
        Some(terms.fold(first.times(weight), |sum, (terms, weight)| sum.plus(terms.times(weight))))
    }
}

impl ItemLazy for PassOutput {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for PassOutput {
    fn adapt(&self) -> LossInput {
        let sum = self.mean_terms().map_or_else(
            || Tensor::zeros([1], &burn::tensor::Device::default()),
            |terms| terms.cross_entropy,
        );
        LossInput::new(sum / self.tokens.max(1) as f64)
    }
}
