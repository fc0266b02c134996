//! The objective of value learning at some positions, with its gradient.

use crate::cpu::{Kernel, LANES, Level, each, padded, run, sum};
use crate::exp::exp;
use crate::parallel_rows::parallel_map;
use crate::softmax::{BLOCK, SoftmaxStats};

/// Weights of the terms of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Of `|v|_1 / size`.
    pub l1: f32,
    /// Of `|v|_2^2 / size`.
    pub l2: f32,
    /// Of `KL(p || q)`.
    pub kl: f32,
}

/// The terms of an objective, unweighted, as sums over positions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Objective {
    /// `-log p[y]`, in nats.
    pub cross_entropy: f64,
    /// `|v|_1 / size`.
    pub l1: f64,
    /// `|v|_2^2 / size`.
    pub l2: f64,
    /// `KL(p || q)`, in nats.
    pub kl: f64,
}

impl Objective {
    /// The terms for logits `b` of a base and `v` of a value, with `p = softmax(b + v)` and `q = softmax(b)`, at each position;
    /// without a base `b` is zero and there are no penalties. The logits of the value become the derivative by them of the
    /// weighted sum of the terms, times `scale`:
    ///
    /// ```text
    /// w (p_j - [j = y]) + l1 * sign(v_j) / size + l2 * 2 v_j / size + kl * p_j (v_j - sum_i p_i v_i)
    /// ```
    ///
    /// `w` is the weight of the cross-entropy at the position, 1 without `weights`; the terms themselves are unweighted. The
    /// last term is `kl * p_j (log p_j - log q_j - KL(p || q))`, of which all but `v_j` and its mean cancels.
    ///
    /// # Shapes
    /// - `base` and `value`: `[positions, size]`
    /// - `targets` and `weights`: `[positions]`
    ///
    /// # Panics
    /// If there is not one target and one weight for each position, one target is outside of `size`, or base and value differ in length.
    pub fn compute(
        base: Option<&[f32]>,
        value: &mut [f32],
        targets: &[u32],
        weights: Option<&[f32]>,
        penalties: Penalties,
        scale: f32,
    ) -> Self {
        assert!(weights.is_none_or(|weights| weights.len() == targets.len()), "a weight for each position");
        let size = value.len() / targets.len().max(1);
        assert_eq!(value.len(), size * targets.len(), "a target for each position");
        assert!(base.is_none_or(|base| base.len() == value.len()), "a base logit for each of the value's");
        if size == 0 {
            return Self::default();
        }
        let rows = value.chunks_mut(size).map(|row| (row, Self::default()));
        let rows = parallel_map(rows, |row, (value, terms)| {
            let base = base.map(|base| &base[row * size..(row + 1) * size]);
            let target =
                Target { id: targets[row] as usize, weight: weights.map_or(1.0, |weights| weights[row]) };
            *terms = position(base, value, target, penalties, scale);
        });
        let terms = rows.into_iter().map(|(_, terms)| terms);
        terms.fold(Self::default(), |sum, terms| Self {
            cross_entropy: sum.cross_entropy + terms.cross_entropy,
            l1: sum.l1 + terms.l1,
            l2: sum.l2 + terms.l2,
            kl: sum.kl + terms.kl,
        })
    }
}

/// The token that a position is to predict, and the weight of its cross-entropy.
#[derive(Clone, Copy)]
struct Target {
    id: usize,
    weight: f32,
}

fn position(
    base: Option<&[f32]>,
    value: &mut [f32],
    target: Target,
    penalties: Penalties,
    scale: f32,
) -> Objective {
    let size = value.len() as f64;
    let mut sums = PositionSums {
        largest: f32::NEG_INFINITY,
        sum_exp: 0.0,
        weighted_sum: 0.0,
        absolute: 0.0,
        square: 0.0,
    };
    run(FindLargestSum { logits: FusedLogits { base, value }, most: &mut sums.largest });
    run(AddPosition { logits: FusedLogits { base, value }, sums: &mut sums });
    let log_normalizer = f64::from(sums.largest) + sums.sum_exp.ln();
    let wanted = f64::from(value[target.id]) + base.map_or(0.0, |base| f64::from(base[target.id]));
    let mut terms = Objective { cross_entropy: log_normalizer - wanted, ..Objective::default() };
    let mut gradient = PositionGradient {
        base,
        value,
        largest: sums.largest,
        factor: (f64::from(scale) / sums.sum_exp) as f32,
        weight: target.weight,
        l1: 0.0,
        l2: 0.0,
        kl: 0.0,
        mean: 0.0,
    };
    if let Some(base) = base {
        let of_norm = |weight: f32| (f64::from(weight * scale) / size) as f32;
        terms.l1 = sums.absolute / size;
        gradient.l1 = of_norm(penalties.l1);
        if penalties.l2 > 0.0 {
            terms.l2 = sums.square / size;
            gradient.l2 = 2.0 * of_norm(penalties.l2);
        }
        if penalties.kl > 0.0 {
            let mean = sums.weighted_sum / sums.sum_exp;
            terms.kl = mean - log_normalizer + SoftmaxStats::new(base).log_normalizer();
            (gradient.kl, gradient.mean) = (penalties.kl, mean as f32);
        }
    }
    run(&mut gradient);
    value[target.id] -= scale * target.weight;
    terms
}

/// Logits of a position: only the value's, or the value's and the base's.
struct FusedLogits<'a> {
    base: Option<&'a [f32]>,
    value: &'a [f32],
}

impl FusedLogits<'_> {
    /// Some of both, from `start` on; ids beyond the end have probability 0.
    #[inline(always)]
    fn at(&self, start: usize) -> [[f32; LANES]; 2] {
        let whole = |numbers: &[f32]| numbers[start..].first_chunk::<LANES>().copied();
        match (whole(self.value), self.base) {
            (Some(value), Some(base)) => [whole(base).unwrap_or([0.0; LANES]), value],
            (Some(value), None) => [[0.0; LANES], value],
            (None, base) => {
                let value = &self.value[start..];
                let base = match base {
                    Some(base) => padded(&base[start..], f32::NEG_INFINITY),
                    None => each(|lane| if lane < value.len() { 0.0 } else { f32::NEG_INFINITY }),
                };
                [base, padded(value, 0.0)]
            }
        }
    }
}

struct FindLargestSum<'a> {
    logits: FusedLogits<'a>,
    most: &'a mut f32,
}

impl Kernel for FindLargestSum<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let mut most = [f32::NEG_INFINITY; LANES];
        for start in (0..self.logits.value.len()).step_by(LANES) {
            let [base, value] = self.logits.at(start);
            most = each(|lane| {
                let logit = base[lane] + value[lane];
                if logit > most[lane] { logit } else { most[lane] }
            });
        }
        for lane in 0..LANES {
            if most[lane] > *self.most {
                *self.most = most[lane];
            }
        }
    }
}

/// Over the tokens of a position, with the weights `w = exp(b + v - largest)`.
struct PositionSums {
    largest: f32,
    /// `sum w`.
    sum_exp: f64,
    /// `sum w v`.
    weighted_sum: f64,
    /// `sum |v|`.
    absolute: f64,
    /// `sum v^2`.
    square: f64,
}

struct AddPosition<'a> {
    logits: FusedLogits<'a>,
    sums: &'a mut PositionSums,
}

impl Kernel for AddPosition<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Self { logits, sums } = self;
        let (len, block) = (logits.value.len(), BLOCK * LANES);
        for first in (0..len).step_by(block) {
            let [mut total, mut weighted_sum, mut absolute, mut square] = [[0.0; LANES]; 4];
            for start in (first..len.min(first + block)).step_by(LANES) {
                let [base, value] = logits.at(start);
                let weights = exp::<L>(each(|lane| base[lane] + value[lane] - sums.largest));
                total = each(|lane| total[lane] + weights[lane]);
                weighted_sum = each(|lane| L::fma_one(weights[lane], value[lane], weighted_sum[lane]));
                absolute = each(|lane| absolute[lane] + value[lane].abs());
                square = each(|lane| L::fma_one(value[lane], value[lane], square[lane]));
            }
            sums.sum_exp += f64::from(sum(total));
            sums.weighted_sum += f64::from(sum(weighted_sum));
            sums.absolute += f64::from(sum(absolute));
            sums.square += f64::from(sum(square));
        }
    }
}

/// Puts the derivative in the place of the value, but for the target.
struct PositionGradient<'a> {
    base: Option<&'a [f32]>,
    value: &'a mut [f32],
    largest: f32,
    /// The factor that turns a weight into a scaled probability.
    factor: f32,
    /// The weight of the cross-entropy.
    weight: f32,
    l1: f32,
    l2: f32,
    kl: f32,
    /// `sum p v`.
    mean: f32,
}

impl Kernel for &mut PositionGradient<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        for start in (0..self.value.len()).step_by(LANES) {
            let [base, value] = FusedLogits { base: self.base, value: self.value }.at(start);
            let weights = exp::<L>(each(|lane| base[lane] + value[lane] - self.largest));
            let gradient = each(|lane| {
                let v = value[lane];
                let sign = if v > 0.0 {
                    self.l1
                } else if v < 0.0 {
                    -self.l1
                } else {
                    0.0
                };
                let probable = weights[lane] * self.factor;
                L::fma_one(
                    probable,
                    L::fma_one(self.kl, v - self.mean, self.weight),
                    L::fma_one(self.l2, v, sign),
                )
            });
            let len = LANES.min(self.value.len() - start);
            match len {
                LANES => self.value[start..start + LANES].copy_from_slice(&gradient),
                _ => self.value[start..].copy_from_slice(&gradient[..len]),
            }
        }
    }
}
