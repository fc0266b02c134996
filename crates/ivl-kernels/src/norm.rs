//! Normalisation of rows.

use crate::cpu::{Kernel, LANES, Level, run, sum};
use crate::parallel_rows::{GRAIN, for_row_groups, parallel_map};

/// A normalisation with its weights, shape `[width]`.
#[derive(Debug, Clone, Copy)]
pub enum Normalization<'a> {
    /// `x / sqrt(mean(x^2) + eps) * (w + offset)`.
    Rms {
        /// `w`.
        weight: &'a [f32],
        /// Added to the weights.
        offset: f32,
    },
    /// `(x - mean) / sqrt(variance + eps) * (w + offset) + b`.
    Layer {
        /// `w`.
        weight: &'a [f32],
        /// Added to the weights.
        offset: f32,
        /// `b`; empty where nothing is added.
        bias: &'a [f32],
    },
}

impl Normalization<'_> {
    /// Normalises each row of `x`.
    ///
    /// # Shapes
    /// - `x` and output: `[rows, width]`
    pub fn apply(self, x: &[f32], eps: f32) -> Vec<f32> {
        let width = self.width();
        let mut y = x.to_vec();
        for_row_groups(&mut y, width, |_, rows| run(NormalizeRows { numbers: rows, width, norm: self, eps }));
        y
    }

    /// The derivatives of `d . norm(x)`: by `x` in the place of `d`, by the weights and, for a layer norm, by biases.
    ///
    /// # Shapes
    /// - `x` and `d`: `[rows, width]`
    /// - output: `[width]`, each
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn gradient(self, x: &[f32], d: &mut [f32], eps: f32) -> [Vec<f32>; 2] {
        assert_eq!(x.len(), d.len(), "a derivative for each number");
        let width = self.width();
        let rows = GRAIN.div_ceil(width) * width;
        let parts = x.chunks(rows).zip(d.chunks_mut(rows));
        let parts = parts.map(|(x, d)| NormGradient {
            norm: self,
            x,
            d,
            eps,
            by_weight: vec![0.0; width],
            by_bias: vec![0.0; width],
        });
        let mut sums = [vec![0.0; width], vec![0.0; width]];
        for part in parallel_map(parts, |_, part| run(part)) {
            for (sum, part) in sums.iter_mut().zip([part.by_weight, part.by_bias]) {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        sums
    }

    fn width(self) -> usize {
        match self {
            Self::Rms { weight, .. } | Self::Layer { weight, .. } => weight.len(),
        }
    }
}

struct NormGradient<'a> {
    norm: Normalization<'a>,
    x: &'a [f32],
    d: &'a mut [f32],
    eps: f32,
    by_weight: Vec<f32>,
    by_bias: Vec<f32>,
}

impl Kernel for &mut NormGradient<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (weight, offset, layer) = match self.norm {
            Normalization::Rms { weight, offset } => (weight, offset, false),
            Normalization::Layer { weight, offset, .. } => (weight, offset, true),
        };
        let width = weight.len();
        let mean = |total: f32| total / width as f32;
        let mut normed = vec![0.0; width];
        for (x, d) in self.x.chunks_exact(width).zip(self.d.chunks_exact_mut(width)) {
            let center = if layer { mean(total(x)) } else { 0.0 };
            for i in 0..width {
                normed[i] = x[i] - center;
            }
            let scale = (mean(squares::<L>(&normed)) + self.eps).sqrt().recip();
            for i in 0..width {
                normed[i] *= scale;
                self.by_weight[i] += d[i] * normed[i];
                self.by_bias[i] += d[i];
                d[i] *= weight[i] + offset;
            }
            // The mean and the length of the row are normalised away: the derivative has no part along them.
            let along = mean(dot::<L>(d, &normed));
            let level = if layer { mean(total(d)) } else { 0.0 };
            for i in 0..width {
                d[i] = scale * (d[i] - level - along * normed[i]);
            }
        }
    }
}

struct NormalizeRows<'a> {
    numbers: &'a mut [f32],
    width: usize,
    norm: Normalization<'a>,
    eps: f32,
}

impl Kernel for NormalizeRows<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let mean = |total: f32| total / self.width as f32;
        for row in self.numbers.chunks_exact_mut(self.width) {
            match self.norm {
                Normalization::Rms { weight, offset } => {
                    let scale = (mean(squares::<L>(row)) + self.eps).sqrt().recip();
                    for (x, w) in row.iter_mut().zip(weight) {
                        *x = *x * scale * (w + offset);
                    }
                }
                Normalization::Layer { weight, offset, bias } => {
                    let center = mean(total(row));
                    for x in row.iter_mut() {
                        *x -= center;
                    }
                    let scale = (mean(squares::<L>(row)) + self.eps).sqrt().recip();
                    for (x, w) in row.iter_mut().zip(weight) {
                        *x = *x * scale * (w + offset);
                    }
                    row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
                }
            }
        }
    }
}

#[inline(always)]
fn squares<L: Level>(row: &[f32]) -> f32 {
    dot::<L>(row, row)
}

#[inline(always)]
fn dot<L: Level>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = L::splat(0.0);
    for (a, b) in a.iter().zip(b) {
        sums = L::fma(L::load(a), L::load(b), sums);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sum(L::store(sums)) + rest
}

#[inline(always)]
fn total(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
    sum(sums) + rest.iter().sum::<f32>()
}
