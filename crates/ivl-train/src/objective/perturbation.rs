//! Perturbing the base's logits while the value trains, so that it cannot lean on one base's quirks.

use burn::tensor::{DType, Distribution, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::RegularizationConfig;

/// The perturbations of one pass: with a temperature `T` drawn for the pass, normal noise `e`, a mask `m` that is 0 with
/// the dropout's probability at each position, and the weight `w` of the base at this step,
///
/// ```text
/// b' = m * w * (b / T + noise * e),    log T uniform in [-log temperature, log temperature]
/// ```
///
/// `w` rises from 0 to 1 over the steps of the fade-in and is 1 after it ([`base_weight`]).
///
/// A pure function of seed, step and pass, so that a resumed run sees what an uninterrupted one would.
#[derive(Debug, Clone)]
pub(crate) struct Perturbation {
    weight: f64,
    temperature: f64,
    noise: f64,
    dropout: f64,
    rng: ChaCha8Rng,
}

impl Perturbation {
    /// The perturbations of a micro-batch; `None` without any in the configuration.
    pub(crate) fn new(
        config: &RegularizationConfig,
        weight: f64,
        seed: u64,
        step: usize,
        pass: usize,
    ) -> Option<Self> {
        let plain = config.base_temperature == 1.0 && config.base_noise == 0.0 && config.base_dropout == 0.0;
        if plain && weight == 1.0 {
            return None;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7065_7274_7572_6221);
        rng.set_stream(((step as u64) << 20) | pass as u64);
        let span = config.base_temperature.ln();
        let temperature = (span * (2.0 * rng.random::<f64>() - 1.0)).exp();
        Some(Self { weight, temperature, noise: config.base_noise, dropout: config.base_dropout, rng })
    }

    /// Perturbs the next rows of a pass.
    ///
    /// # Shapes
    /// - `base` and output: `[n, vocab]`
    pub(crate) fn apply(&mut self, base: Tensor<2>) -> Tensor<2> {
        let [rows, vocab] = base.dims();
        let device = base.device();
        let mut base = base.cast(DType::F32) / self.temperature;
        if self.noise > 0.0 {
            device.seed(self.rng.random());
            let noise = Distribution::Normal(0.0, self.noise);
            base = base + Tensor::random([rows, vocab], noise, (&device, DType::F32));
        }
        if self.dropout > 0.0 {
            let kept: Vec<f32> =
                (0..rows).map(|_| if self.rng.random::<f64>() < self.dropout { 0.0 } else { 1.0 }).collect();
            base = base * Tensor::<2>::from_data(TensorData::new(kept, [rows, 1]), (&device, DType::F32));
        }
        if self.weight == 1.0 { base } else { base * self.weight }
    }
}

/// The weight of the base at a step (counted from 0) of a run of `total`: `step / (fade_in * total)`, at most 1.
pub(crate) fn base_weight(fade_in: f64, step: usize, total: usize) -> f64 {
    let steps = fade_in * total as f64;
    if steps > 0.0 { (step as f64 / steps).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn logits() -> Tensor<2> {
        let numbers: Vec<f32> = (0..4000).map(|i| (i % 7) as f32).collect();
        Tensor::from_data(TensorData::new(numbers, [40, 100]), &Device::flex())
    }

    fn host(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_into_vec().expect("f32")
    }

    fn perturbed(config: &RegularizationConfig, step: usize, pass: usize) -> Vec<f32> {
        host(Perturbation::new(config, 1.0, 3, step, pass).expect("perturbs").apply(logits()))
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        let plain = RegularizationConfig { base_dropout: 0.0, ..Default::default() };
        assert!(Perturbation::new(&plain, 1.0, 1, 2, 3).is_none());
    }

    #[test]
    fn the_base_fades_in_over_its_share_of_the_run() {
        let weights: Vec<f64> = (0..6).map(|step| base_weight(0.5, step, 8)).collect();
        assert_eq!(weights, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!([base_weight(0.0, 0, 8), base_weight(1.0, 0, 0)], [1.0, 1.0]);
        let config = RegularizationConfig { base_dropout: 0.0, ..Default::default() };
        let half = host(Perturbation::new(&config, 0.5, 3, 1, 0).expect("perturbs").apply(logits()));
        assert!(half.iter().zip(host(logits())).all(|(half, whole)| *half == whole / 2.0));
    }

    // One test: the generator of the noise belongs to the device, which threads share.
    #[test]
    fn passes_are_perturbed_alike_whenever_they_run_and_as_the_equation_says() {
        let config = RegularizationConfig { base_noise: 0.5, base_dropout: 0.3, ..Default::default() };
        assert_eq!(perturbed(&config, 4, 1), perturbed(&config, 4, 1));
        assert_ne!(perturbed(&config, 4, 1), perturbed(&config, 4, 2));
        assert_ne!(perturbed(&config, 4, 1), perturbed(&config, 5, 1));

        let plain = host(logits());
        let config = RegularizationConfig { base_temperature: 2.0, base_dropout: 0.0, ..Default::default() };
        let scales: Vec<f32> = (0..50).map(|step| perturbed(&config, step, 0)[1] / plain[1]).collect();
        assert!(scales.iter().all(|scale| (0.5..=2.0).contains(scale)));
        assert!(scales.iter().any(|&scale| scale < 0.8) && scales.iter().any(|&scale| scale > 1.25));

        let config = RegularizationConfig { base_noise: 0.5, base_dropout: 0.0, ..Default::default() };
        let noise: Vec<f64> =
            perturbed(&config, 0, 0).iter().zip(&plain).map(|(a, b)| f64::from(a - b)).collect();
        let variance = noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64;
        assert!((variance - 0.25).abs() < 0.03, "{variance}");

        let config = RegularizationConfig { base_dropout: 0.3, ..Default::default() };
        let rows: Vec<bool> =
            perturbed(&config, 0, 0).chunks(100).map(|row| row.iter().all(|&x| x == 0.0)).collect();
        let dropped = rows.iter().filter(|&&dropped| dropped).count();
        assert!((4..=20).contains(&dropped), "{dropped} of 40, expected about 12");
    }
}
