//! The forward pass of a micro-batch, up to the heads: the same for training and for the held-out loss.
//!
//! ```text
//! residual:  tokens -> value -> hidden --+--> head -> v   (once for all bases that share the value's tokens)
//!            tokens -> base  -> logits --+--> loss of b + v
//!
//! cascade:   tokens -> base -> logits -> expected embeddings -> value -> hidden -> head -> v   (once for each base)
//! ```
//!
//! The heads are computed by the consumer, some rows at a time: the logits of a whole batch would not fit in memory.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor};
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::VocabProjection;
use ivl_models::transformer::{constant, rows_at};
use ivl_models::{CascadeInput, Transformer};

use crate::Error;
use crate::bases::cross_tokenizer::RetokenizedBatch;
use crate::bases::frozen_base::{FrozenBase, Split};
use crate::bases::lm_logits::lm_logits;
use crate::bases::teacher::{Teacher, TeacherForward};
use crate::config::RegularizationConfig;
use crate::data::batch::{Batch, index_tensor, segmented};
use crate::objective::loss::{Targets, Terms, differentiable_loss, mapped_loss};
use crate::objective::perturbation::Perturbation;
use crate::step::trained_first::TrainedFirst;

/// A base that a micro-batch is trained against or evaluated on.
pub struct BaseTarget<'a> {
    base: &'a FrozenBase,
    /// Its weight in the loss.
    pub(crate) weight: f64,
    projection: VocabProjection,
    perturbation: Option<Perturbation>,
}

impl<'a> BaseTarget<'a> {
    /// A base with its weight in the loss; `projection` is its map on the value's device.
    pub fn new(base: &'a FrozenBase, weight: f64, projection: VocabProjection) -> Self {
        Self { base, weight, projection, perturbation: None }
    }

    /// Perturbs the base's logits before they enter the loss.
    #[must_use]
    pub(crate) fn perturbed(self, perturbation: Option<Perturbation>) -> Self {
        Self { perturbation, ..self }
    }
}

/// How a micro-batch is read.
#[derive(Clone, Copy)]
pub(crate) struct ForwardConfig<'a> {
    /// The input of a cascade value; `None` for a residual value.
    pub(crate) cascade: Option<CascadeInput>,
    /// Rows that go through a head at once.
    pub(crate) head_rows: usize,
    /// Which examples the micro-batch is made of.
    pub(crate) split: Split,
    /// The model whose predictions are fitted, if one is.
    pub(crate) teacher: Option<&'a Teacher>,
}

impl<'a> ForwardConfig<'a> {
    /// The bases that one forward pass serves, with their indices: all of them for a residual value, which reads only the
    /// text; one at a time for a cascade value, which reads the base's predictions.
    pub(crate) fn group(self, targets: Vec<BaseTarget<'a>>) -> Vec<Vec<(usize, BaseTarget<'a>)>> {
        let targets = targets.into_iter().enumerate();
        match self.cascade {
            None => vec![targets.collect()],
            Some(_) => targets.map(|target| vec![target]).collect(),
        }
    }

    fn teacher_forward(self, batch: &Batch) -> Result<Option<TeacherForward<'a>>, Error> {
        self.teacher.map(|teacher| teacher.forward(batch, self.split)).transpose()
    }
}

/// Hidden states of value and bases for a micro-batch, before the heads.
pub(crate) struct BatchForward<'a> {
    /// Positions to predict at, by the bases that predict there.
    pub(crate) groups: Vec<HeadGroup<'a>>,
    /// The base predictions that a cascade value read.
    pub(crate) features: Option<BaseFeatures>,
}

/// Positions at which the value's head is computed once, for all bases that predict there.
pub(crate) struct HeadGroup<'a> {
    /// Hidden states of the value, shape `[n, hidden]`.
    pub(crate) hidden: Tensor<2>,
    /// The next tokens; `n`.
    pub(crate) targets: Vec<u32>,
    /// The bases; none where the network is trained by itself.
    pub(crate) bases: Vec<BaseForward<'a>>,
    teacher: Option<TeacherForward<'a>>,
}

impl HeadGroup<'_> {
    /// What is fitted at some rows by logits over so many ids, with the weights of the tokens.
    pub(crate) fn targets(&self, rows: Range<usize>, vocab: usize, weights: Option<Vec<f32>>) -> Targets {
        let device = self.hidden.device();
        let device = if device.is_autodiff() { device.inner() } else { device };
        let tokens = index_tensor(&self.targets[rows.clone()], &device);
        let teacher = self.teacher.as_ref().map(|teacher| teacher.rows(rows, vocab));
        Targets { tokens, weights, teacher }
    }
}

/// One base at the positions of its group.
pub(crate) struct BaseForward<'a> {
    /// Which of the targets.
    pub(crate) index: usize,
    logits: SelectedLogits<'a>,
    weight: f64,
    projection: VocabProjection,
    pub(crate) perturbation: Option<Perturbation>,
    /// Whether it cuts texts into other tokens than the value.
    cross_tokenizer: bool,
}

/// The expected embeddings of a base's predictions, which a cascade value reads.
pub(crate) struct BaseFeatures {
    /// The index of each position among the base's logits.
    pub(crate) order: TrainedFirst,
    /// Shape `[rows * seq, hidden]`.
    pub(crate) embeddings: Tensor<2>,
}

/// Reads a micro-batch with the value and with one group of [`ForwardConfig::group`].
///
/// # Errors
/// [`Error::NotCached`] for logits that a base does not give.
pub(crate) fn forward<'a>(
    value: &Transformer,
    config: ForwardConfig<'a>,
    batch: &Batch,
    targets: Vec<(usize, BaseTarget<'a>)>,
) -> Result<BatchForward<'a>, Error> {
    match config.cascade {
        None => residual_forward(value, config, batch, targets),
        Some(input) => cascade_forward(value, config, input, batch, targets),
    }
}

/// The value reads the text once. Bases that share its tokens share one group, every other has one of its own.
fn residual_forward<'a>(
    value: &Transformer,
    config: ForwardConfig<'a>,
    batch: &Batch,
    targets: Vec<(usize, BaseTarget<'a>)>,
) -> Result<BatchForward<'a>, Error> {
    let device = value.device();
    let mut cache = segmented(value.new_cache(&batch.no_padding()), batch);
    let hidden = value.hidden(batch.tokens(&device), &mut cache);
    let (mut shared, mut groups) = (Vec::new(), Vec::new());
    let alone = targets.is_empty();
    for (index, target) in targets {
        let Some(retokenizer) = &target.base.retokenizer else {
            let logits = target.base.trained_logits(batch, config.split)?;
            shared.push(BaseForward::new(index, logits, target));
            continue;
        };
        let RetokenizedBatch { batch, value_positions } = retokenizer.retokenize(batch);
        if !value_positions.is_empty() {
            let logits = target.base.trained_logits(&batch, config.split)?;
            let hidden = rows_at(hidden.clone(), index_tensor(&value_positions, &device));
            let bases = vec![BaseForward::new(index, logits, target)];
            groups.push(HeadGroup { hidden, targets: batch.targets, bases, teacher: None });
        }
    }
    if alone || !shared.is_empty() {
        let hidden = rows_at(hidden, batch.position_tensor(&device));
        let teacher = config.teacher_forward(batch)?;
        groups.insert(0, HeadGroup { hidden, targets: batch.targets.clone(), bases: shared, teacher });
    }
    Ok(BatchForward { groups, features: None })
}

/// The value reads the predictions of one base at every position.
fn cascade_forward<'a>(
    value: &Transformer,
    config: ForwardConfig<'a>,
    input: CascadeInput,
    batch: &Batch,
    targets: Vec<(usize, BaseTarget<'a>)>,
) -> Result<BatchForward<'a>, Error> {
    let (device, mut groups, mut features) = (value.device(), Vec::new(), None);
    for (index, target) in targets {
        let lm = target.base.lm().ok_or_else(|| target.base.not_cached("at every position"))?;
        let order = TrainedFirst::new(batch);
        let logits = lm_logits(lm, batch, &order.positions)?;
        let constants = order.features(&value.valid(), &logits, config.head_rows);
        let embeddings = match device.is_autodiff() {
            true => constant(constants, &device).require_grad(),
            false => constants,
        };
        let tokens = batch.tokens(&device);
        let hidden = cascade_hidden(value, input, batch, tokens, embeddings.clone());
        let bases = vec![BaseForward::new(index, logits, target)];
        let teacher = config.teacher_forward(batch)?;
        groups.push(HeadGroup { hidden, targets: batch.targets.clone(), bases, teacher });
        features = Some(BaseFeatures { order, embeddings });
    }
    Ok(BatchForward { groups, features })
}

/// Hidden states of a cascade value at the trained positions, from the expected embeddings of the base's predictions.
///
/// # Shapes
/// - `embeddings`: `[rows * seq, hidden]`
/// - output: `[n, hidden]`
fn cascade_hidden(
    value: &Transformer,
    input: CascadeInput,
    batch: &Batch,
    tokens: Tensor<2, Int>,
    embeddings: Tensor<2>,
) -> Tensor<2> {
    let ([rows, seq], width) = (tokens.dims(), embeddings.dims()[1]);
    let embedded = input.arrange(|| value.embed(tokens), embeddings.reshape([rows, seq, width]));
    let mut cache = segmented(input.new_cache(value, &batch.no_padding()), batch);
    let hidden = input.outputs(value.hidden_from_embeddings(embedded, &mut cache));
    rows_at(hidden, batch.position_tensor(&value.device()))
}

impl<'a> BaseForward<'a> {
    fn new(index: usize, logits: SelectedLogits<'a>, target: BaseTarget<'a>) -> Self {
        let BaseTarget { base, weight, projection, perturbation } = target;
        let cross_tokenizer = base.retokenizer.is_some();
        Self { index, logits, weight, projection, perturbation, cross_tokenizer }
    }

    /// Logits of some rows, perturbed.
    ///
    /// # Shapes
    /// - output: `[rows, base_vocab]`
    pub(crate) fn logits(&mut self, rows: Range<usize>) -> Tensor<2> {
        let mut perturbation = self.perturbation.take();
        let logits = self.perturbed_logits(rows, &mut perturbation);
        self.perturbation = perturbation;
        logits
    }

    /// The same with perturbations that are drawn from elsewhere.
    pub(crate) fn perturbed_logits(
        &self,
        rows: Range<usize>,
        perturbation: &mut Option<Perturbation>,
    ) -> Tensor<2> {
        let logits = self.raw_logits(rows);
        match perturbation {
            Some(perturbation) => perturbation.apply(logits),
            None => logits,
        }
    }

    /// The value's logits brought to the base's ids.
    ///
    /// # Shapes
    /// - `value`: `[rows, value_vocab]`
    /// - output: `[rows, base_vocab]`
    pub(crate) fn mapped(&self, value: Tensor<2>) -> Tensor<2> {
        self.projection.rows(value)
    }

    /// Logits of some rows as the base gives them.
    pub(crate) fn raw_logits(&self, rows: Range<usize>) -> Tensor<2> {
        self.logits.rows(rows)
    }

    /// The loss at some rows, as [`differentiable_loss`] gives it, times the weight of this base over the trained tokens of the
    /// step.
    ///
    /// # Shapes
    /// - `base`: `[rows, base_vocab]`, of [`logits`](Self::logits)
    /// - `value`: `[rows, value_vocab]`
    pub(crate) fn loss(
        &self,
        base: Tensor<2>,
        value: Tensor<2>,
        targets: Targets,
        weights: &RegularizationConfig,
        step_tokens: usize,
    ) -> (Terms, Option<Tensor<1>>) {
        let scale = self.weight / step_tokens as f64;
        let mapped = self.mapped(value);
        if !self.cross_tokenizer {
            return differentiable_loss(Some(base), mapped, targets, weights, scale);
        }
        let (device, base) = (mapped.device(), base.cast(DType::F32));
        let base = if device.is_autodiff() { constant(base, &device) } else { base };
        let (terms, sum) = mapped_loss(&self.projection, base, mapped, targets.tokens, weights);
        (terms, device.is_autodiff().then(|| sum * scale))
    }
}
