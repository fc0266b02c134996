//! Sums over the distribution that logits define.
//!
//! Weights are `exp(x - largest)`, in single precision; they are added up in blocks, and the blocks in double precision.

use crate::cpu::{Kernel, LANES, Level, each, padded, run, sum};
use crate::exp::exp;
use crate::parallel_rows::parallel_map;

/// Chunks that are added up in single precision.
pub(crate) const BLOCK: usize = 32;

/// Below this, weights are zero in single precision.
const LEAST: f32 = -87.3;

/// The index of the largest number, of the first among equals. None if nothing is above minus infinity.
pub fn argmax(numbers: &[f32]) -> Option<usize> {
    let most = largest(numbers);
    if most == f32::NEG_INFINITY { None } else { numbers.iter().position(|&number| number == most) }
}

/// The sums that `softmax(x)`, its normaliser and its entropy are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxStats {
    /// `max_i x_i`.
    pub largest: f32,
    /// `sum_i w_i`, with the weights `w_i = exp(x_i - largest)`.
    pub sum_exp: f64,
    /// `sum_i w_i (x_i - largest)`.
    pub weighted_sum: f64,
}

impl SoftmaxStats {
    /// The sums of these logits. Where all are minus infinity, `sum_exp` is zero; where one is NaN or infinite, it is NaN.
    pub fn new(numbers: &[f32]) -> Self {
        let largest = largest(numbers);
        let mut stats = Self { largest, sum_exp: 0.0, weighted_sum: 0.0 };
        if largest == f32::NEG_INFINITY {
            stats.sum_exp = if numbers.iter().any(|number| number.is_nan()) { f64::NAN } else { 0.0 };
            return stats;
        }
        run(SumExponentials { numbers, stats: &mut stats });
        stats
    }

    /// `log sum_i exp(x_i)`: what is subtracted from a logit to get a log-probability, in nats.
    pub fn log_normalizer(&self) -> f64 {
        f64::from(self.largest) + self.sum_exp.ln()
    }

    /// `-sum_i p_i log p_i`, in nats.
    pub fn entropy(&self) -> f64 {
        f64::max(self.sum_exp.ln() - self.weighted_sum / self.sum_exp, 0.0)
    }
}

/// For each row of logits, the log-probability of its target in nats and the index of the largest logit (see [`argmax`]; 0 if
/// there is none).
///
/// # Shapes
/// - `logits`: `[rows, size]`
/// - `targets`: `[rows]`
///
/// # Panics
/// If there is not one target for each row, or one is outside of it.
pub fn logprobs(logits: &[f32], targets: &[u32]) -> Vec<(f32, u32)> {
    let size = logits.len() / targets.len().max(1);
    assert_eq!(logits.len(), size * targets.len(), "a target for each row");
    let mut judged = vec![(0.0, 0); targets.len()];
    parallel_map(judged.iter_mut(), |row, place| {
        let logits = &logits[row * size..(row + 1) * size];
        let logprob = f64::from(logits[targets[row] as usize]) - SoftmaxStats::new(logits).log_normalizer();
        **place = (logprob as f32, argmax(logits).unwrap_or(0) as u32);
    });
    judged
}

/// `KL(p || q) = sum_i p_i (log p_i - log q_i)` of the distributions of two lists of logits, in nats, from what is known of
/// each. A token that is impossible under `p` adds nothing; one that only `q` excludes makes it infinite.
///
/// # Panics
/// If the lists differ in length.
pub fn kl_divergence([p, q]: [&[f32]; 2], [of_p, of_q]: [&SoftmaxStats; 2]) -> f64 {
    assert_eq!(p.len(), q.len(), "two distributions over the same tokens");
    let mut difference = 0.0;
    run(SumKl { p, q, largest: [of_p.largest, of_q.largest], total: &mut difference });
    f64::max(difference / of_p.sum_exp - (of_p.sum_exp.ln() - of_q.sum_exp.ln()), 0.0)
}

/// `exp((x - largest) / temperature)` of each number, zero where single precision has no such number.
pub fn softmax_weights(numbers: &[f32], largest: f32, temperature: f32) -> Vec<f32> {
    let mut weights = numbers.to_vec();
    run(WeightRow { numbers: &mut weights, largest, scale: temperature.recip() });
    weights
}

/// NaN counts for nothing.
fn largest(numbers: &[f32]) -> f32 {
    let mut most = f32::NEG_INFINITY;
    run(FindLargest { numbers, most: &mut most });
    most
}

struct FindLargest<'a> {
    numbers: &'a [f32],
    most: &'a mut f32,
}

impl Kernel for FindLargest<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (chunks, rest) = self.numbers.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            most = each(|lane| if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] });
        }
        for &number in most.iter().chain(rest) {
            if number > *self.most {
                *self.most = number;
            }
        }
    }
}

struct SumExponentials<'a> {
    numbers: &'a [f32],
    stats: &'a mut SoftmaxStats,
}

impl Kernel for SumExponentials<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let SoftmaxStats { largest, sum_exp, weighted_sum } = self.stats;
        for block in self.numbers.chunks(BLOCK * LANES) {
            let (chunks, rest) = block.as_chunks::<LANES>();
            let (mut totals, mut weighted) = ([0.0; LANES], [0.0; LANES]);
            for part in 0..chunks.len() + usize::from(!rest.is_empty()) {
                let chunk = if part < chunks.len() { chunks[part] } else { padded(rest, f32::NEG_INFINITY) };
                let below = each(|lane| chunk[lane] - *largest);
                let weights = exp::<L>(below);
                totals = each(|lane| totals[lane] + weights[lane]);
                // Without the bound, what is impossible would be zero times infinity.
                weighted = each(|lane| {
                    let below = if below[lane] < LEAST { LEAST } else { below[lane] };
                    L::fma_one(weights[lane], below, weighted[lane])
                });
            }
            *sum_exp += f64::from(sum(totals));
            *weighted_sum += f64::from(sum(weighted));
        }
    }
}

struct SumKl<'a> {
    p: &'a [f32],
    q: &'a [f32],
    largest: [f32; 2],
    total: &'a mut f64,
}

impl Kernel for SumKl<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        for (p, q) in self.p.chunks(BLOCK * LANES).zip(self.q.chunks(BLOCK * LANES)) {
            let ((p, rest_p), (q, rest_q)) = (p.as_chunks::<LANES>(), q.as_chunks::<LANES>());
            let mut totals = [0.0; LANES];
            for part in 0..p.len() + usize::from(!rest_p.is_empty()) {
                let (p, q) = if part < p.len() {
                    (p[part], q[part])
                } else {
                    (padded(rest_p, f32::NEG_INFINITY), padded(rest_q, f32::NEG_INFINITY))
                };
                let below = each(|lane| p[lane] - self.largest[0]);
                let weights = exp::<L>(below);
                totals = each(|lane| {
                    let more = below[lane] - (q[lane] - self.largest[1]);
                    totals[lane] + if weights[lane] == 0.0 { 0.0 } else { weights[lane] * more }
                });
            }
            *self.total += f64::from(sum(totals));
        }
    }
}

struct WeightRow<'a> {
    numbers: &'a mut [f32],
    largest: f32,
    scale: f32,
}

impl Kernel for WeightRow<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (chunks, rest) = self.numbers.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = exp::<L>(each(|lane| (chunk[lane] - self.largest) * self.scale));
        }
        let padded = padded(rest, f32::NEG_INFINITY);
        let last = exp::<L>(each(|lane| (padded[lane] - self.largest) * self.scale));
        rest.copy_from_slice(&last[..rest.len()]);
    }
}
