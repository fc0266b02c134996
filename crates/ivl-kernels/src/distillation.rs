//! The divergence of a fused distribution from that of a teacher at some positions, with its gradient.

use crate::parallel_rows::parallel_map;
use crate::softmax::{SoftmaxStats, kl_divergence, softmax_weights};

/// The predictions of a teacher at some positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TeacherRows<'a> {
    /// Its logits; shape `[positions, size]`.
    Logits(&'a [f32]),
    /// Its most probable tokens, and the probability of all others together.
    TopTokens {
        /// Each once in its row; shape `[positions, k]`.
        ids: &'a [u32],
        /// Their log-probabilities in nats, at the temperature; shape `[positions, k]`.
        logprobs: &'a [f32],
        /// The log-probability of the others together; shape `[positions]`.
        rest: &'a [f32],
    },
}

/// How a fused distribution is compared with a teacher's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// Number of logits at a position.
    pub size: usize,
    /// Divides the logits of both; above 0.
    pub temperature: f32,
    /// Factor of the gradient.
    pub scale: f32,
}

impl Distillation {
    /// Adds the derivative of `scale * D` by the value's logits `v` to `gradient`, and returns `D`. With the logits `b` of a
    /// base (zero without one), `T` the temperature, `p = softmax((b + v) / T)` and `q` the teacher's distribution,
    ///
    /// ```text
    /// D = T^2 sum_positions KL(q || p)        dD / dv_j = T (p_j - q_j)
    /// ```
    ///
    /// The factor `T^2` keeps the gradient of one size at every temperature
    /// ([Hinton et al. 2015](https://arxiv.org/abs/1503.02531)). Of a teacher whose top tokens `S` are known, the divergence
    /// is that of the distributions over `S` and one event more, "another token", of probabilities `Q` and `P`:
    ///
    /// ```text
    /// KL = sum_(j in S) q_j log(q_j / p_j) + Q log(Q / P)        dD / dv_j = T (p_j - Q p_j / P) for j not in S
    /// ```
    ///
    /// so that nothing is assumed about how the others share their probability.
    ///
    /// # Shapes
    /// - `base`, `value` and `gradient`: `[positions, size]`
    ///
    /// # Panics
    /// If the shapes do not fit each other, or an id is outside of `size`.
    pub fn add_gradient(
        &self,
        base: Option<&[f32]>,
        value: &[f32],
        teacher: TeacherRows<'_>,
        gradient: &mut [f32],
    ) -> f64 {
        let Self { size, temperature, scale } = *self;
        assert_eq!(gradient.len(), value.len(), "a derivative for each logit");
        assert!(base.is_none_or(|base| base.len() == value.len()), "a base logit for each of the value's");
        if size == 0 || value.is_empty() {
            return 0.0;
        }
        let positions = value.len() / size;
        let fits = match teacher {
            TeacherRows::Logits(logits) => logits.len() == value.len(),
            TeacherRows::TopTokens { ids, logprobs, rest } => {
                rest.len() == positions && ids.len() == logprobs.len() && ids.len() % positions == 0
            }
        };
        assert!(value.len() == positions * size && fits, "the teacher's predictions at each position");
        let factor = f64::from(temperature * scale);
        let rows = gradient.chunks_mut(size).map(|gradient| (gradient, 0.0));
        let rows = parallel_map(rows, |row, (gradient, divergence)| {
            let span = row * size..(row + 1) * size;
            let base = base.map(|base| &base[span.clone()]);
            let fused = scaled_sum(base, &value[span.clone()], temperature);
            *divergence = match teacher {
                TeacherRows::Logits(logits) => {
                    all_tokens(&fused, &scaled_sum(None, &logits[span], temperature), factor, gradient)
                }
                TeacherRows::TopTokens { ids, logprobs, rest } => {
                    let k = ids.len() / positions;
                    let kept = row * k..(row + 1) * k;
                    top_tokens(fused, &ids[kept.clone()], &logprobs[kept], rest[row], factor, gradient)
                }
            };
        });
        let total: f64 = rows.into_iter().map(|(_, divergence)| divergence).sum();
        total * f64::from(temperature).powi(2)
    }
}

/// `(b + v) / T`.
fn scaled_sum(base: Option<&[f32]>, value: &[f32], temperature: f32) -> Vec<f32> {
    let scale = temperature.recip();
    match base {
        Some(base) => base.iter().zip(value).map(|(base, value)| (base + value) * scale).collect(),
        None => value.iter().map(|value| value * scale).collect(),
    }
}

/// `gradient += factor (softmax(fused) - softmax(teacher))`; returns `KL(teacher || fused)`.
fn all_tokens(fused: &[f32], teacher: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let (of_fused, of_teacher) = (SoftmaxStats::new(fused), SoftmaxStats::new(teacher));
    add_exp(gradient, factor / of_fused.sum_exp, fused, of_fused.largest);
    add_exp(gradient, -factor / of_teacher.sum_exp, teacher, of_teacher.largest);
    kl_divergence([teacher, fused], [&of_teacher, &of_fused])
}

/// As [`all_tokens`], with the tokens outside of `ids` as one event of log-probability `rest`.
fn top_tokens(
    mut fused: Vec<f32>,
    ids: &[u32],
    logprobs: &[f32],
    rest: f32,
    factor: f64,
    gradient: &mut [f32],
) -> f64 {
    // The others are summed by themselves: their share may be far below the rounding error of the sum over all.
    let take = |&id: &u32| std::mem::replace(&mut fused[id as usize], f32::NEG_INFINITY);
    let kept: Vec<f64> = ids.iter().map(take).map(f64::from).collect();
    let others = SoftmaxStats::new(&fused);
    let log_others = if others.sum_exp == 0.0 { f64::NEG_INFINITY } else { others.log_normalizer() };
    let largest = kept.iter().copied().fold(log_others, f64::max);
    let sum: f64 = kept.iter().chain([&log_others]).map(|logit| (logit - largest).exp()).sum();
    let log_normalizer = largest + sum.ln();
    let mut divergence = 0.0;
    for ((&id, &logprob), logit) in ids.iter().zip(logprobs).zip(kept) {
        let (wanted, found) = (f64::from(logprob), logit - log_normalizer);
        gradient[id as usize] += (factor * (found.exp() - wanted.exp())) as f32;
        divergence += term(wanted, found);
    }
    if log_others.is_nan() {
        return f64::NAN;
    }
    if log_others > f64::NEG_INFINITY {
        let (wanted, found, of_largest) =
            (f64::from(rest), log_others - log_normalizer, f64::from(others.largest) - log_others);
        add_exp(gradient, factor * (found.exp() - wanted.exp()) * of_largest.exp(), &fused, others.largest);
        divergence += term(wanted, found);
    }
    divergence.max(0.0)
}

/// `q log(q / p)` of two log-probabilities.
fn term(wanted: f64, found: f64) -> f64 {
    if wanted == f64::NEG_INFINITY { 0.0 } else { wanted.exp() * (wanted - found) }
}

/// `sums += factor exp(numbers - largest)`.
fn add_exp(sums: &mut [f32], factor: f64, numbers: &[f32], largest: f32) {
    let weights = softmax_weights(numbers, largest, 1.0);
    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += factor as f32 * weight);
}
