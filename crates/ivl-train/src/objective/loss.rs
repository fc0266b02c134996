//! The objective of value learning, and its gradient in closed form.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData};
use ivl_core::fusion::VocabProjection;
use ivl_core::fusion::fuse;
use ivl_core::tokens::is_host;
use ivl_kernels::{Distillation, Objective, Penalties};
use ivl_models::transformer::with_gradient;

use crate::config::RegularizationConfig;
use crate::objective::teacher_target::TeacherTarget;

/// What the fused distributions at some positions are to fit.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The next tokens; shape `[n]`.
    pub tokens: Tensor<1, Int>,
    /// The weights of their cross-entropies; `n`. Each is 1 without them.
    pub weights: Option<Vec<f32>>,
    /// The predictions of a teacher.
    pub teacher: Option<TeacherTarget>,
}

impl From<Tensor<1, Int>> for Targets {
    /// The next tokens, each of weight 1.
    fn from(tokens: Tensor<1, Int>) -> Self {
        Self { tokens, weights: None, teacher: None }
    }
}

/// The objective at some positions, as sums over them, and its gradient.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Sum of the terms.
    pub terms: Terms,
    /// Derivative of the weighted sum of the terms by the value's logits, times the scale; shape `[n, vocab]`.
    pub gradient: Tensor<2>,
}

/// Sums over positions; each of shape `[1]`, in f32.
#[derive(Debug, Clone)]
pub struct Terms {
    /// `-log p[y]`.
    pub cross_entropy: Tensor<1>,
    /// `|v|_1 / vocab`.
    pub l1: Tensor<1>,
    /// `|v|_2^2 / vocab`; zero where it has no weight.
    pub l2: Tensor<1>,
    /// `KL(p || p_base)`; zero where it has no weight, or without a base.
    pub kl: Tensor<1>,
    /// `T^2 KL(p_teacher || p)` at the temperature `T`; zero without a teacher.
    pub distillation: Tensor<1>,
}

/// Cross-entropy of the fused distribution, with penalties on the size of the value and on its distance from the base. With
/// `l_i = b_i + v_i`, `p_i = softmax(l_i)` and `q_i = softmax(b_i)` at trained position `i`, and the weight `w_i` of its
/// token (1 unless [`Targets`] says otherwise):
///
/// ```text
/// L   = sum_i [ -w_i log p_i[y_i] + l1 * |v_i|_1 / |vocab| + l2 * |v_i|_2^2 / |vocab| + kl * KL(p_i || q_i) ]
///
/// dL / dv_ij = w_i (p_ij - [j = y_i]) + l1 * sign(v_ij) / |vocab| + l2 * 2 v_ij / |vocab|
///            + kl * p_ij (log p_ij - log q_ij - KL(p_i || q_i))
/// ```
///
/// A teacher with the distributions `t_i` adds `T^2 KL(t_i || softmax(l_i / T))` at the temperature `T` of [`TeacherTarget`],
/// whose derivative is `T (softmax(l_i / T) - t_i)`; [`Distillation::add_gradient`] derives it for a teacher of whom only the
/// most probable tokens are known.
///
/// In closed form, since automatic differentiation would keep four tensors of the size of the logits for it. The caller
/// divides by the number of trained tokens in the whole optimizer step, so that small passes add up to exactly one large
/// one. The base enters as a constant. The paper averages the norm over all positions, prompt and padding included; ours
/// counts the trained ones.
///
/// The gradient comes times `scale`. On the CPU one kernel computes all of it, in the memory of `value` if no other tensor
/// holds that and there is no teacher.
///
/// # Shapes
/// - `base`: `[n, vocab]`, or none to train the network by itself
/// - `value`: `[n, vocab]`, already mapped to the base's vocabulary, without autodiff
pub fn value_loss(
    base: Option<Tensor<2>>,
    value: Tensor<2>,
    targets: impl Into<Targets>,
    weights: &RegularizationConfig,
    scale: f64,
) -> Loss {
    let (value, targets) = (value.cast(DType::F32), targets.into());
    if is_host(&value.device()) {
        return by_kernel(base, value, targets, weights, scale);
    }
    let logits = match &base {
        Some(base) => fuse(base.clone(), value.clone(), 1.0),
        None => value.clone(),
    };
    let distilled = targets.teacher.map(|teacher| teacher.compare(logits.clone()));
    let mut loss = token_loss(base, value, logits, targets.tokens, targets.weights, weights);
    if let Some((distillation, gradient)) = distilled {
        loss.terms.distillation = distillation;
        loss.gradient = loss.gradient + gradient;
    }
    Loss { gradient: loss.gradient * scale, ..loss }
}

/// [`value_loss`] without a teacher, at a scale of 1, by the operations of the device.
fn token_loss(
    base: Option<Tensor<2>>,
    value: Tensor<2>,
    logits: Tensor<2>,
    tokens: Tensor<1, Int>,
    token_weights: Option<Vec<f32>>,
    weights: &RegularizationConfig,
) -> Loss {
    let vocab = value.dims()[1] as f64;
    let targets: Tensor<2, Int> = tokens.unsqueeze_dim(1);
    let logprobs = log_softmax(logits, 1);
    let cross_entropy = logprobs.clone().gather(1, targets.clone()).sum().neg();
    let probabilities = logprobs.clone().exp();
    let zero = || Tensor::<1>::zeros([1], (&value.device(), DType::F32));
    let (mut l1, mut l2, mut kl) = (zero(), zero(), zero());
    let mut regularizer: Option<Tensor<2>> = None;
    let mut add = |gradient: Tensor<2>| {
        regularizer = Some(match regularizer.take() {
            Some(sum) => sum + gradient,
            None => gradient,
        });
    };
    if let Some(base) = base {
        l1 = value.clone().abs().sum() / vocab;
        if weights.l1 > 0.0 {
            add(value.clone().sign() * (weights.l1 / vocab));
        }
        if weights.l2 > 0.0 {
            l2 = value.clone().square().sum() / vocab;
            add(value.clone() * (2.0 * weights.l2 / vocab));
        }
        if weights.kl > 0.0 {
            let ratio = logprobs - log_softmax(base.cast(DType::F32), 1);
            let divergence = (probabilities.clone() * ratio.clone()).sum_dim(1);
            kl = divergence.clone().sum();
            add(probabilities.clone() * (ratio - divergence) * weights.kl);
        }
    }
    let ones = Tensor::<2>::ones(targets.dims(), (&value.device(), DType::F32));
    let mut gradient = probabilities.scatter(1, targets, ones.neg(), IndexingUpdateOp::Add);
    if let Some(weights) = token_weights {
        let weights = TensorData::new(weights, [gradient.dims()[0], 1]);
        gradient = gradient * Tensor::<2>::from_data(weights, (&value.device(), DType::F32));
    }
    let gradient = match regularizer {
        Some(regularizer) => gradient + regularizer,
        None => gradient,
    };
    Loss { terms: Terms { cross_entropy, l1, l2, kl, distillation: zero() }, gradient }
}

/// [`value_loss`] in a graph: its terms, and on a device with autodiff a number whose derivative by the parameters is that
/// of the objective times `scale`.
///
/// # Shapes
/// - as [`value_loss`], but `value` may be under autodiff
pub(crate) fn differentiable_loss(
    base: Option<Tensor<2>>,
    value: Tensor<2>,
    targets: Targets,
    weights: &RegularizationConfig,
    scale: f64,
) -> (Terms, Option<Tensor<1>>) {
    if !value.is_autodiff() {
        return (value_loss(base, value, targets, weights, scale).terms, None);
    }
    let mut terms = Terms::zero(&value.device());
    let surrogate = with_gradient(value, |value| {
        let loss = value_loss(base, value, targets, weights, scale);
        terms = loss.terms;
        loss.gradient
    });
    (terms, Some(surrogate))
}

fn by_kernel(
    base: Option<Tensor<2>>,
    value: Tensor<2>,
    targets: Targets,
    weights: &RegularizationConfig,
    scale: f64,
) -> Loss {
    let (device, size) = (value.device(), value.dims()[1]);
    let Targets { tokens, weights: token_weights, teacher } = targets;
    let base = base.map(|base| base.cast(DType::F32).into_data());
    let base = base.as_ref().map(|base| base.as_slice::<f32>().expect("logits in f32"));
    let tokens: Vec<u32> = tokens.into_data().iter::<i64>().map(|token| token as u32).collect();
    let [l1, l2, kl] = [weights.l1, weights.l2, weights.kl].map(|weight| weight as f32);
    let mut gradient = value.into_data();
    let numbers: &mut [f32] = gradient.as_mut_slice().expect("logits in f32");
    // The derivative takes the place of the value's logits, which the teacher's term still needs.
    let value = teacher.is_some().then(|| numbers.to_vec());
    let penalties = Penalties { l1, l2, kl };
    let terms = Objective::compute(base, numbers, &tokens, token_weights.as_deref(), penalties, scale as f32);
    let distillation = teacher.zip(value).map_or(0.0, |(teacher, value)| {
        let distillation =
            Distillation { size, temperature: teacher.temperature as f32, scale: scale as f32 };
        teacher.with_rows(|rows| distillation.add_gradient(base, &value, rows, numbers))
    });
    let term = |number: f64| Tensor::from_data([number as f32], (&device, DType::F32));
    Loss {
        terms: Terms {
            cross_entropy: term(terms.cross_entropy),
            l1: term(terms.l1),
            l2: term(terms.l2),
            kl: term(terms.kl),
            distillation: term(distillation),
        },
        gradient: Tensor::from_data(gradient, (&device, DType::F32)),
    }
}

/// The objective against a base of another vocabulary, with its sum still to be followed back: ids without a value get the
/// neutral value of [`VocabProjection::add`], which depends on all logits of both.
///
/// # Shapes
/// - `base`: `[n, base_vocab]`
/// - `mapped`: the same, the value's logits brought to the base's ids, with autodiff
/// - `targets`: `[n]`, the base's ids
pub fn mapped_loss(
    projection: &VocabProjection,
    base: Tensor<2>,
    mapped: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: &RegularizationConfig,
) -> (Terms, Tensor<1>) {
    let mapped = mapped.cast(DType::F32);
    let vocab = mapped.dims()[1] as f64;
    let logprobs = log_softmax(projection.add(base.clone(), mapped.clone(), 1.0), 1);
    let cross_entropy = logprobs.clone().gather(1, targets.unsqueeze_dim(1)).sum().neg();
    let l1 = mapped.clone().abs().sum() / vocab;
    let l2 = mapped.square().sum() / vocab;
    let mut sum = cross_entropy.clone();
    for (term, weight) in [(&l1, weights.l1), (&l2, weights.l2)] {
        if weight > 0.0 {
            sum = sum + term.clone() * weight;
        }
    }
    let kl = (logprobs.clone().exp() * (logprobs - log_softmax(base, 1))).sum();
    if weights.kl > 0.0 {
        sum = sum + kl.clone() * weights.kl;
    }
    let plain = |term: Tensor<1>| term.without_autodiff();
    let distillation = Tensor::zeros([1], (&plain(kl.clone()).device(), DType::F32));
    let (cross_entropy, l1, l2, kl) = (plain(cross_entropy), plain(l1), plain(l2), plain(kl));
    (Terms { cross_entropy, l1, l2, kl, distillation }, sum)
}

impl Terms {
    /// The terms of no position.
    pub fn zero(device: &Device) -> Self {
        let zero = || Tensor::zeros([1], (&device.clone().inner(), DType::F32));
        Self { cross_entropy: zero(), l1: zero(), l2: zero(), kl: zero(), distillation: zero() }
    }

    /// The terms of two sets of positions together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cross_entropy: self.cross_entropy + other.cross_entropy,
            l1: self.l1 + other.l1,
            l2: self.l2 + other.l2,
            kl: self.kl + other.kl,
            distillation: self.distillation + other.distillation,
        }
    }

    /// Every term times a number.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            cross_entropy: self.cross_entropy * factor,
            l1: self.l1 * factor,
            l2: self.l2 * factor,
            kl: self.kl * factor,
            distillation: self.distillation * factor,
        }
    }

    /// The terms as numbers: cross-entropy, L1, L2, KL and distillation. The device is waited for once.
    pub fn read(&self) -> [f64; 5] {
        let terms = [&self.cross_entropy, &self.l1, &self.l2, &self.kl, &self.distillation].map(Clone::clone);
        let numbers = Tensor::cat(terms.to_vec(), 0).into_data();
        let mut numbers = numbers.iter::<f64>();
        terms.map(|_| numbers.next().unwrap_or(f64::NAN))
    }
}
