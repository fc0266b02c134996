//! Rotary settings of GGUF files: metadata, and tensors of divisors, as `rope_parameters` of a `config.json`.

use serde_json::{Map, Value, json};

use super::hyperparameters::Hyperparameters;
use super::tensor_type::GgufType;
use crate::Error;
use crate::config::RopeScaling;

/// The divisor of each frequency (Llama 3.1).
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// The divisors of LongRoPE, for short and long contexts.
pub(super) const SHORT: &str = "rope_factors_short.weight";
pub(super) const LONG: &str = "rope_factors_long.weight";

/// The divisor of pairs that do not turn.
pub(super) const STILL: f32 = 1e30;

/// The theta of a file that says none.
const THETA: f64 = 10_000.0;

impl Hyperparameters<'_> {
    /// `rope_parameters`, with the rotated part of a head if it is not the whole.
    pub(super) fn rope_parameters(&self, head_dim: usize) -> Result<Map<String, Value>, Error> {
        let theta = self.opt_number("rope.freq_base")?.unwrap_or(THETA);
        let dim = self.opt_size("rope.dimension_count")?.unwrap_or(head_dim);
        let mut rope = self.scaling(theta, dim)?;
        rope.insert("rope_theta".to_owned(), json!(theta));
        if dim != head_dim {
            rope.insert("partial_rotary_factor".to_owned(), json!(dim as f64 / head_dim as f64));
        }
        Ok(rope)
    }

    /// The settings of heads of which only the first pairs turn: the divisors of the others are so large that they stand still.
    pub(super) fn proportional_rotation(&self, dim: usize) -> Result<Value, Error> {
        let theta = self.opt_number("rope.freq_base")?.unwrap_or(1e6);
        let Some(factors) = self.factors(FACTORS, dim)? else {
            return Ok(json!({ "rope_type": "default", "rope_theta": theta }));
        };
        let is_still = |factor: &f64| *factor >= f64::from(STILL) / 2.0;
        let pairs = factors.iter().position(is_still).unwrap_or(factors.len());
        let factor = factors.first().copied().unwrap_or(1.0);
        if pairs == 0
            || !factors[..pairs].iter().all(|own| *own == factor)
            || !factors[pairs..].iter().all(is_still)
        {
            return Err(Error::TensorType {
                path: self.gguf.path().to_owned(),
                tensor: FACTORS.to_owned(),
                got: "divisors of many kinds".to_owned(),
                expected: "one divisor for the first pairs of a head, and 1e30 for the others".to_owned(),
            });
        }
        Ok(json!({
            "rope_type": "proportional", "rope_theta": theta, "factor": factor,
            "partial_rotary_factor": 2.0 * pairs as f64 / dim as f64,
        }))
    }

    fn scaling(&self, theta: f64, dim: usize) -> Result<Map<String, Value>, Error> {
        let mut rope = Map::new();
        let mut put = |field: &str, value: Value| drop(rope.insert(field.to_owned(), value));
        if let (Some(short), Some(long)) = (self.factors(SHORT, dim)?, self.factors(LONG, dim)?) {
            put("rope_type", json!("longrope"));
            put("short_factor", json!(short));
            put("long_factor", json!(long));
            put(
                "original_max_position_embeddings",
                json!(self.size("rope.scaling.original_context_length")?),
            );
            put("attention_factor", json!(self.opt_number("rope.scaling.attn_factor")?.unwrap_or(1.0)));
            return Ok(rope);
        }
        if let Some(factors) = self.factors(FACTORS, dim)? {
            return self.by_wavelength(theta, &factors);
        }
        let factor = self.opt_number("rope.scaling.factor")?.or(self.opt_number("rope.scale_linear")?);
        let factor = factor.filter(|&factor| factor > 0.0).unwrap_or(1.0);
        match self.opt_text("rope.scaling.type")? {
            Some("linear") | None if factor != 1.0 => {
                put("rope_type", json!("linear"));
                put("factor", json!(factor));
            }
            Some("none" | "linear") | None => put("rope_type", json!("default")),
            Some("yarn") => {
                put("rope_type", json!("yarn"));
                put("factor", json!(factor));
                let original = self.size("rope.scaling.original_context_length")?;
                put("original_max_position_embeddings", json!(original));
                for (field, name) in [
                    ("attention_factor", "rope.scaling.yarn_attn_factor"),
                    ("beta_fast", "rope.scaling.yarn_beta_fast"),
                    ("beta_slow", "rope.scaling.yarn_beta_slow"),
                ] {
                    if let Some(number) = self.opt_number(name)? {
                        put(field, json!(number));
                    }
                }
            }
            Some("longrope") => return Err(self.missing_tensor(LONG)),
            Some(_) => return Err(self.invalid("rope.scaling.type", "none, linear, yarn or longrope")),
        }
        Ok(rope)
    }

    fn missing_tensor(&self, name: &str) -> Error {
        Error::MissingTensor { path: self.gguf.path().to_owned(), tensor: name.to_owned() }
    }

    /// The divisors in a tensor, one for each pair of dimensions.
    fn factors(&self, name: &str, dim: usize) -> Result<Option<Vec<f64>>, Error> {
        let Some(tensor) = self.gguf.tensor(name) else { return Ok(None) };
        if tensor.kind != GgufType::F32 || tensor.shape != [dim / 2] {
            return Err(Error::TensorType {
                path: self.gguf.path().to_owned(),
                tensor: name.to_owned(),
                got: format!("{} of shape {:?}", tensor.kind, tensor.shape),
                expected: format!("{} divisors in F32", dim / 2),
            });
        }
        let floats = tensor.bytes.chunks_exact(4);
        let floats = floats.map(|bytes| f32::from_le_bytes([0, 1, 2, 3].map(|at| bytes[at])));
        let factors: Vec<f64> = floats.map(f64::from).collect();
        match factors.iter().all(|factor| *factor > 0.0 && factor.is_finite()) {
            true => Ok(Some(factors)),
            false => Err(Error::TensorType {
                path: self.gguf.path().to_owned(),
                tensor: name.to_owned(),
                got: "a number that is 0, negative or not finite".to_owned(),
                expected: "divisors above 0".to_owned(),
            }),
        }
    }

    /// The settings that the divisors were computed from, where they can be found; else the divisors themselves, as those of a
    /// LongRoPE that is the same at every length.
    fn by_wavelength(&self, theta: f64, factors: &[f64]) -> Result<Map<String, Value>, Error> {
        let settings = match wavelength_settings(theta, factors) {
            Some(RopeScaling::ByWavelength { factor, low, high, original }) => json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
            _ => json!({
                "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0,
                "original_max_position_embeddings": self.size("context_length")?,
            }),
        };
        let Value::Object(settings) = settings else { unreachable!("an object") };
        Ok(settings)
    }
}

/// The divisors of scaling by wavelength, as Llama 3.1 defines it, for each pair of `2 * pairs` dimensions.
pub(super) fn wavelength_factors(
    theta: f64,
    pairs: usize,
    [factor, low, high]: [f64; 3],
    original: usize,
) -> Vec<f32> {
    let original = original as f64;
    let divisor = |pair: usize| {
        let frequency = theta.powf(-(pair as f64) / pairs as f64);
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let kept = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - kept) / factor + kept)
        }
    };
    (0..pairs).map(|pair| divisor(pair) as f32).collect()
}

/// Largest relative difference of divisors that count as the same: converters compute them in 32 bits.
const SAME: f64 = 2e-6;

/// The settings that give divisors. On the ramp `kept = original / (high - low) / wavelength - low / (high - low)`, a line of
/// which two points say slope and offset; every known model has `low = 1`, which leaves one unknown less.
fn wavelength_settings(theta: f64, factors: &[f64]) -> Option<RopeScaling> {
    let pairs = factors.len();
    let factor = factors.iter().copied().fold(1.0, f64::max);
    if factor <= 1.0 {
        return None;
    }
    let on_ramp: Vec<(f64, f64)> = factors
        .iter()
        .enumerate()
        .filter(|(_, divisor)| **divisor > 1.0 + SAME && **divisor < factor * (1.0 - SAME))
        .map(|(pair, divisor)| {
            let per_wavelength = theta.powf(-(pair as f64) / pairs as f64) / (2.0 * std::f64::consts::PI);
            (per_wavelength, (1.0 / divisor - 1.0 / factor) / (1.0 - 1.0 / factor))
        })
        .collect();
    let [first, .., last] = on_ramp.as_slice() else { return None };
    let slope = (first.1 - last.1) / (first.0 - last.0);
    let offset = slope * first.0 - first.1;
    let low = 1.0;
    let high = rounded(low + 1.0 / offset);
    let original = (slope * (high - low)).round();
    if !(high > low && (1.0..1e9).contains(&original)) {
        return None;
    }
    let again = wavelength_factors(theta, pairs, [factor, low, high], original as usize);
    let same = again.iter().zip(factors).all(|(a, b)| (f64::from(*a) - b).abs() <= SAME * b);
    same.then_some(RopeScaling::ByWavelength { factor, low, high, original: original as usize })
}

/// To three digits after the point: settings are written by people.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_llama_3_are_found_from_their_divisors() {
        for (theta, pairs, factor, high, original) in
            [(500_000.0, 64, 8.0, 4.0, 8192), (500_000.0, 32, 32.0, 4.0, 8192), (10_000.0, 32, 2.0, 2.5, 512)]
        {
            let factors = wavelength_factors(theta, pairs, [factor, 1.0, high], original);
            let factors: Vec<f64> = factors.into_iter().map(f64::from).collect();
            let expected = RopeScaling::ByWavelength { factor, low: 1.0, high, original };
            assert_eq!(wavelength_settings(theta, &factors), Some(expected));
        }
        // One divisor on the ramp does not say its slope.
        let single = wavelength_factors(10_000.0, 16, [2.0, 1.0, 2.5], 512);
        let single: Vec<f64> = single.into_iter().map(f64::from).collect();
        assert_eq!(wavelength_settings(10_000.0, &single), None);
        let others: Vec<f64> = (0..64).map(|pair| 1.0 + f64::from(pair) / 9.0).collect();
        assert_eq!(wavelength_settings(500_000.0, &others), None);
        assert_eq!(wavelength_settings(500_000.0, &[1.0; 8]), None);
    }
}
