//! Normalisation of rows.

use crate::cpu::{Kernel, LANES, Level, run, sum};
use crate::rows::by_rows;

/// A normalisation with its weights, shape `[width]`.
#[derive(Debug, Clone, Copy)]
pub enum Norm<'a> {
    /// `x / sqrt(mean(x^2) + eps) * (w + offset)`.
    Rms {
        /// `w`.
        weight: &'a [f32],
        /// Added to the weights.
        offset: f32,
    },
    /// `(x - mean) / sqrt(variance + eps) * w + b`.
    Layer {
        /// `w`.
        weight: &'a [f32],
        /// `b`.
        bias: &'a [f32],
    },
}

impl Norm<'_> {
    /// Normalises each row of `x`.
    ///
    /// # Shapes
    /// - `x` and output: `[rows, width]`
    pub fn apply(self, x: &[f32], eps: f32) -> Vec<f32> {
        let width = match self {
            Self::Rms { weight, .. } | Self::Layer { weight, .. } => weight.len(),
        };
        let mut y = x.to_vec();
        by_rows(&mut y, width, |_, rows| run(Rows { numbers: rows, width, norm: self, eps }));
        y
    }
}

struct Rows<'a> {
    numbers: &'a mut [f32],
    width: usize,
    norm: Norm<'a>,
    eps: f32,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let mean = |total: f32| total / self.width as f32;
        for row in self.numbers.chunks_exact_mut(self.width) {
            match self.norm {
                Norm::Rms { weight, offset } => {
                    let scale = (mean(squares::<L>(row)) + self.eps).sqrt().recip();
                    for (x, w) in row.iter_mut().zip(weight) {
                        *x = *x * scale * (w + offset);
                    }
                }
                Norm::Layer { weight, bias } => {
                    let center = mean(total(row));
                    for x in row.iter_mut() {
                        *x -= center;
                    }
                    let scale = (mean(squares::<L>(row)) + self.eps).sqrt().recip();
                    for ((x, w), b) in row.iter_mut().zip(weight).zip(bias) {
                        *x = *x * scale * w + b;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn squares<L: Level>(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = L::splat(0.0);
    for chunk in chunks {
        let chunk = L::load(chunk);
        sums = L::fma(chunk, chunk, sums);
    }
    let rest: f32 = rest.iter().map(|x| x * x).sum();
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
