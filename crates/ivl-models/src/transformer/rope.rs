//! Rotary position embedding ([arXiv 2104.09864](https://arxiv.org/abs/2104.09864)) with its extensions to longer contexts.

use std::f64::consts::PI;

use burn::tensor::{DType, Device};

use super::ops::Rotation;
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
            RopeScaling::Proportional { pairs, factor } => {
                let scale = |(i, f): (usize, f64)| if i < *pairs { f / factor } else { 0.0 };
                (plain(self.theta).enumerate().map(scale).collect(), 1.0)
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
    pub(super) fn rotation(&self, places: &[Vec<(usize, usize)>], dtype: DType, device: &Device) -> Rotation {
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
        Rotation::new([cos, sin], [rows, pairs], self.pairing, dtype, device)
    }
}
