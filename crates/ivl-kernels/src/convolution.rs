//! Causal convolutions of single channels.

use crate::cpu::{Kernel, Level, run};
use crate::parallel_rows::for_row_groups;

/// `y[t] = sum_j w[j] x[t - (kernel - 1) + j] + b` for each channel by itself; inputs before the beginning of a text are zero.
#[derive(Debug, Clone, Copy)]
pub struct CausalConvolution<'a> {
    /// `w`, shape `[kernel, channels]`.
    pub weight: &'a [f32],
    /// `b`, shape `[channels]`; empty where nothing is added.
    pub bias: &'a [f32],
    /// Number of channels.
    pub channels: usize,
}

impl CausalConvolution<'_> {
    fn kernel(&self) -> usize {
        self.weight.len() / self.channels
    }

    /// Convolves positions of each row. An output has the same bits whether positions are read at once or in pieces.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, channels]`
    /// - `tail`: `[batch, kernel - 1, channels]`, the inputs before `x`; those after it, when this returns
    /// - `ages`: `[batch, seq]`, positions since the beginning of the text, `None` in padding
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn apply(&self, x: &[f32], tail: &mut [f32], ages: &[Option<usize>], batch: usize) -> Vec<f32> {
        let (channels, before) = (self.channels, self.kernel() - 1);
        let seq = ages.len() / batch.max(1);
        assert_eq!(x.len(), ages.len() * channels, "an age for each position");
        assert_eq!(tail.len(), batch * before * channels, "the inputs before the first");
        let mut y = vec![0.0; x.len()];
        for_row_groups(&mut y, channels, |first, y| {
            run(Positions { convolution: self, x, tail, ages, seq, first, y });
        });
        for (x, tail) in
            x.chunks_exact((seq * channels).max(1)).zip(tail.chunks_exact_mut((before * channels).max(1)))
        {
            let kept = before.saturating_sub(seq) * channels;
            tail.copy_within(tail.len() - kept.., 0);
            let new = tail.len() - kept;
            tail[kept..].copy_from_slice(&x[x.len() - new..]);
        }
        y
    }
}

/// Some consecutive positions.
struct Positions<'a> {
    convolution: &'a CausalConvolution<'a>,
    x: &'a [f32],
    tail: &'a [f32],
    ages: &'a [Option<usize>],
    seq: usize,
    /// The first position, counted over all rows.
    first: usize,
    y: &'a mut [f32],
}

impl Kernel for Positions<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (channels, before) = (self.convolution.channels, self.convolution.kernel() - 1);
        for (index, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let place = self.first + index;
            let (row, position) = (place / self.seq, place % self.seq);
            if !self.convolution.bias.is_empty() {
                y.copy_from_slice(self.convolution.bias);
            }
            let Some(age) = self.ages[place] else { continue };
            for distance in (0..=before.min(age)).rev() {
                let weight = &self.convolution.weight[(before - distance) * channels..][..channels];
                let x = match position.checked_sub(distance) {
                    Some(position) => &self.x[(row * self.seq + position) * channels..][..channels],
                    None => {
                        &self.tail[(row * before + before + position - distance) * channels..][..channels]
                    }
                };
                for channel in 0..channels {
                    y[channel] = L::fma_one(weight[channel], x[channel], y[channel]);
                }
            }
        }
    }
}
