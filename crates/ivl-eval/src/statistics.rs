//! Means, their standard errors, and intervals by resampling.

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The arithmetic mean.
    pub(crate) mean: f64,
    /// `s / sqrt(n)` with `s` the sample standard deviation (divisor `n - 1`), as lm-evaluation-harness has it; NaN for
    /// fewer than two samples.
    pub(crate) standard_error: f64,
    /// Number of samples.
    pub(crate) samples: usize,
}

/// Mean and standard error of independent samples; the mean of none is NaN.
pub(crate) fn mean(samples: &[f64]) -> Estimate {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    let standard_error = if samples.len() < 2 { f64::NAN } else { (squares / (n - 1.0)).sqrt() / n.sqrt() };
    Estimate { mean, standard_error, samples: samples.len() }
}

/// A percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Lower end.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
}

/// Percentile bootstrap of a statistic of `samples` things (Efron 1979): the statistic is computed on `rounds` draws of the
/// indices `0..samples` with replacement, and the interval holds the middle `level` of the results that are finite.
///
/// The same indices for several quantities of a sample keep them paired. Equal seeds give equal intervals. Both ends are
/// NaN where nothing finite came out.
///
/// # Panics
/// If `level` is outside `0..=1`.
pub(crate) fn bootstrap(
    samples: usize,
    rounds: usize,
    level: f64,
    seed: u64,
    statistic: impl Fn(&[usize]) -> f64,
) -> Interval {
    assert!((0.0..=1.0).contains(&level), "a level is a share of the draws, got {level}");
    let mut results = resample(samples, rounds, seed, statistic);
    results.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = results.len().saturating_sub(1) as f64;
        results.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
    };
    let tail = (1.0 - level) / 2.0;
    Interval { low: at(tail), high: at(1.0 - tail) }
}

/// Bootstrap standard error of a statistic: the sample standard deviation of its finite results on `rounds` draws as in
/// [`bootstrap`]; NaN for fewer than two of them.
pub(crate) fn bootstrap_error(
    samples: usize,
    rounds: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> f64,
) -> f64 {
    let results = resample(samples, rounds, seed, statistic);
    mean(&results).standard_error * (results.len() as f64).sqrt()
}

/// The finite results of a statistic on `rounds` draws of the indices `0..samples` with replacement.
fn resample(samples: usize, rounds: usize, seed: u64, statistic: impl Fn(&[usize]) -> f64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; samples];
    let mut results: Vec<f64> = Vec::with_capacity(rounds);
    if samples > 0 {
        for _ in 0..rounds {
            for index in &mut drawn {
                *index = random.random_range(0..samples);
            }
            results.push(statistic(&drawn));
        }
    }
    results.retain(|result| result.is_finite());
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_hand() {
        let estimate = mean(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((estimate.mean, estimate.samples), (2.5, 4));
        assert!((estimate.standard_error - (5.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        assert!(mean(&[1.0]).standard_error.is_nan());
        assert!(mean(&[]).mean.is_nan());
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        let samples: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let of = |drawn: &[usize]| drawn.iter().map(|&i| samples[i]).sum::<f64>() / drawn.len() as f64;
        let interval = bootstrap(samples.len(), 2000, 0.95, 7, of);
        let half = 1.96 * 0.5 / 20.0;
        assert!((interval.low - (0.5 - half)).abs() < 0.008, "{interval:?}");
        assert!((interval.high - (0.5 + half)).abs() < 0.008, "{interval:?}");
        assert_eq!(interval, bootstrap(samples.len(), 2000, 0.95, 7, of));
    }

    #[test]
    fn the_bootstrap_error_of_a_mean_is_its_standard_error() {
        let samples: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let of = |drawn: &[usize]| drawn.iter().map(|&i| samples[i]).sum::<f64>() / drawn.len() as f64;
        let error = bootstrap_error(samples.len(), 2000, 7, of);
        assert!((error - mean(&samples).standard_error).abs() < 0.002, "{error}");
        assert!(bootstrap_error(0, 10, 7, |_| 1.0).is_nan());
    }

    #[test]
    fn nothing_gives_nothing() {
        let interval = bootstrap(0, 100, 0.95, 0, |_| 1.0);
        assert!(interval.low.is_nan() && interval.high.is_nan());
    }
}
