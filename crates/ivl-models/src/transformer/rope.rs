//! Rotary position embedding ([arXiv 2104.09864](https://arxiv.org/abs/2104.09864)) in the half-split form of the
//! checkpoints, with its extensions to longer contexts.

use std::cell::OnceCell;
use std::f64::consts::PI;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_kernels::rotate;

use super::differentiable;
use crate::config::{RopeConfig, RopeScaling};

impl RopeConfig {
    /// Frequencies of the `dim / 2` pairs for a text of `len` tokens, and the factor on cosine and sine.
    ///
    /// Pair `i` turns by `theta^(-2i/dim)` for each position, before scaling. Rounded to f32 as the reference does:
    /// at long contexts the rounding shows.
    pub fn frequencies(&self, len: usize) -> (Vec<f32>, f64) {
        let pairs = self.dim / 2;
        let plain = |theta: f64| (0..pairs).map(move |i| theta.powf(-2.0 * i as f64 / self.dim as f64));
        let (frequencies, factor): (Vec<f64>, f64) = match &self.scaling {
            RopeScaling::None => (plain(self.theta).collect(), 1.0),
            RopeScaling::Linear { factor } => (plain(self.theta).map(|f| f / factor).collect(), 1.0),
            RopeScaling::Dynamic { factor, original } => {
                let stretch = factor * len.max(*original) as f64 / *original as f64 - (factor - 1.0);
                let exponent = self.dim as f64 / (self.dim as f64 - 2.0);
                (plain(self.theta * stretch.powf(exponent)).collect(), 1.0)
            }
            RopeScaling::ByWavelength { factor, low, high, original } => {
                let scale = |f: f64| {
                    let rotations = *original as f64 * f / (2.0 * PI);
                    let kept = ((rotations - low) / (high - low)).clamp(0.0, 1.0);
                    f * (kept + (1.0 - kept) / factor)
                };
                (plain(self.theta).map(scale).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, attention_factor, .. } => {
                let (start, end) = self.yarn_ramp();
                let scale = |(i, f): (usize, f64)| {
                    let divided = ((i as f64 - start) / (end - start)).clamp(0.0, 1.0);
                    f * (1.0 - divided) + f / factor * divided
                };
                (plain(self.theta).enumerate().map(scale).collect(), *attention_factor)
            }
            RopeScaling::LongRope { short, long, original, attention_factor } => {
                let divisors = if len > *original { long } else { short };
                (plain(self.theta).zip(divisors).map(|(f, d)| f / d).collect(), *attention_factor)
            }
        };
        (frequencies.into_iter().map(|f| f as f32).collect(), factor)
    }

    /// First and last pair of the ramp between kept and divided frequencies.
    fn yarn_ramp(&self) -> (f64, f64) {
        let RopeScaling::Yarn { original, beta_fast, beta_slow, truncate, .. } = &self.scaling else {
            return (0.0, 1.0);
        };
        let pair = |rotations: f64| {
            self.dim as f64 * (*original as f64 / (rotations * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
        };
        let (start, end) = (pair(*beta_fast), pair(*beta_slow));
        let (start, end) = if *truncate { (start.floor(), end.ceil()) } else { (start, end) };
        let (start, end) = (start.max(0.0), end.min(self.dim as f64 - 1.0));
        (start, if start == end { end + 0.001 } else { end })
    }

    /// The rotation at the given places, row by row: the position of each token in its text, and the text's length.
    pub(crate) fn rotation(&self, places: &[Vec<(usize, usize)>], dtype: DType, device: &Device) -> Rotation {
        let (rows, seq, pairs) = (places.len(), places[0].len(), self.dim / 2);
        let mut cos = Vec::with_capacity(rows * seq * pairs);
        let mut sin = Vec::with_capacity(rows * seq * pairs);
        for text in places.iter().flat_map(|row| row.chunk_by(|a, b| a.1 == b.1)) {
            let (frequencies, factor) = self.frequencies(text[0].1);
            for &(position, _) in text {
                for &frequency in &frequencies {
                    let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                    cos.push((c * factor) as f32);
                    sin.push((s * factor) as f32);
                }
            }
        }
        Rotation { cos, sin, rows, pairs, target: (device.clone(), dtype), tensors: OnceCell::new() }
    }
}

/// Cosines and sines at some positions, of all rows of a batch or of one if they are alike.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    /// Shape `[rows, seq, pairs]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    rows: usize,
    pairs: usize,
    target: (Device, DType),
    tensors: OnceCell<[Tensor<4>; 2]>,
}

impl Rotation {
    /// Turns pair `(x_i, x_{i + dim/2})` by its angle; dimensions beyond `dim` pass through.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, heads, head_dim]`
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, seq, heads, width] = x.dims();
        let pairs = self.pairs;
        if let Some(turned) = differentiable::rotated(&x, &self.cos, &self.sin, pairs) {
            return turned;
        }
        let part = |from: usize, to: usize| x.clone().slice([0..batch, 0..seq, 0..heads, from..to]);
        let (first, second) = (part(0, pairs), part(pairs, 2 * pairs));
        let [cos, sin] = self.tensors();
        let turned =
            vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
        let rest = (2 * pairs < width).then(|| part(2 * pairs, width));
        Tensor::cat(turned.into_iter().chain(rest).collect(), 3)
    }

    /// [`apply`](Self::apply) on the host.
    pub(crate) fn turn(&self, x: &mut [f32], heads: usize, width: usize) {
        rotate(x, heads, width, self.pairs, &self.cos, &self.sin);
    }

    /// Shape `[rows, seq, 1, pairs]`.
    fn tensors(&self) -> [Tensor<4>; 2] {
        let tensors = self.tensors.get_or_init(|| {
            [&self.cos, &self.sin].map(|numbers| {
                let shape = [self.rows, numbers.len() / (self.rows * self.pairs), 1, self.pairs];
                let (device, dtype) = &self.target;
                let data = TensorData::new(numbers.clone(), shape);
                Tensor::<4>::from_data(data, (device, DType::F32)).cast(*dtype)
            })
        });
        tensors.clone()
    }
}
