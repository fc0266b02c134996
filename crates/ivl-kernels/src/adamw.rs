//! A step of AdamW.

use crate::cpu::{Kernel, LANES, Level, run};
use crate::parallel_rows::{GRAIN, parallel_map};

/// AdamW ([arXiv 1711.05101](https://arxiv.org/abs/1711.05101)) at a step `t` of a parameter, counted from one:
///
/// ```text
/// m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
/// x <- (1 - lr decay) x - lr (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + eps)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// `lr`.
    pub learning_rate: f64,
    /// `beta_1` and `beta_2`.
    pub betas: [f32; 2],
    /// `eps`.
    pub epsilon: f32,
    /// `decay`.
    pub weight_decay: f32,
    /// `t`.
    pub time: usize,
}

impl AdamW {
    /// Moves the parameters `x` and their moments `m` and `v` by the gradient `g`, all in their places.
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn step(self, x: &mut [f32], g: &[f32], [m, v]: [&mut [f32]; 2]) {
        assert!([g.len(), m.len(), v.len()] == [x.len(); 3], "a gradient and two moments for each parameter");
        let step = StepConstants::new(self);
        let parts =
            x.chunks_mut(GRAIN).zip(g.chunks(GRAIN)).zip(m.chunks_mut(GRAIN)).zip(v.chunks_mut(GRAIN));
        let parts = parts.map(|(((x, g), m), v)| ParameterChunk { step, x, g, m, v });
        parallel_map(parts, |_, part| run(part));
    }
}

struct ParameterChunk<'a> {
    step: StepConstants,
    x: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for &mut ParameterChunk<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let step = self.step;
        let (x, x_rest) = self.x.as_chunks_mut::<LANES>();
        let (g, g_rest) = self.g.as_chunks::<LANES>();
        let (m, m_rest) = self.m.as_chunks_mut::<LANES>();
        let (v, v_rest) = self.v.as_chunks_mut::<LANES>();
        for (((x, g), m), v) in x.iter_mut().zip(g).zip(m).zip(v) {
            for lane in 0..LANES {
                step.update(&mut x[lane], g[lane], [&mut m[lane], &mut v[lane]]);
            }
        }
        for rest in 0..x_rest.len() {
            step.update(&mut x_rest[rest], g_rest[rest], [&mut m_rest[rest], &mut v_rest[rest]]);
        }
    }
}

/// The factors that are the same for every parameter.
#[derive(Clone, Copy)]
struct StepConstants {
    betas: [f32; 2],
    corrected: [f32; 2],
    kept: f32,
    rate: f32,
    epsilon: f32,
}

impl StepConstants {
    fn new(AdamW { learning_rate, betas, epsilon, weight_decay, time }: AdamW) -> Self {
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        Self {
            betas,
            corrected: betas.map(|beta| 1.0 - beta.powi(time)),
            kept: (1.0 - learning_rate * f64::from(weight_decay)) as f32,
            rate: learning_rate as f32,
            epsilon,
        }
    }

    #[inline(always)]
    fn update(&self, x: &mut f32, g: f32, [m, v]: [&mut f32; 2]) {
        *m = self.betas[0] * *m + (1.0 - self.betas[0]) * g;
        *v = self.betas[1] * *v + (1.0 - self.betas[1]) * (g * g);
        let scale = (*v / self.corrected[1]).sqrt() + self.epsilon;
        *x = self.kept * *x - self.rate * (*m / self.corrected[0] / scale);
    }
}
