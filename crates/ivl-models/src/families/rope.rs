//! Rotary settings as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) write them.

use crate::Error;
use crate::config::{RopeConfig, RopeScaling};
use crate::fields::Fields;

/// Defaults of a family for fields that its configuration lacks.
pub(super) struct RopeDefaults {
    pub(super) theta: f64,
    pub(super) partial: f64,
    /// Fields of transformers 4 for theta and the rotated part.
    pub(super) theta_field: &'static str,
    pub(super) partial_field: &'static str,
}

impl Default for RopeDefaults {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            partial: 1.0,
            theta_field: "rope_theta",
            partial_field: "partial_rotary_factor",
        }
    }
}

/// Reads the rotary settings of heads of `head_dim`; also gives the longest context that they allow.
pub(super) fn read(
    fields: &Fields<'_>,
    head_dim: usize,
    max_positions: usize,
    defaults: &RopeDefaults,
) -> Result<(RopeConfig, usize), Error> {
    let nested = match fields.opt_object("rope_parameters")? {
        Some(nested) => Some(nested),
        None => fields.opt_object("rope_scaling")?,
    };
    let number = |field: &str, old: &str, default: f64| match nested
        .map(|n| n.opt_number(field))
        .transpose()?
        .flatten()
    {
        Some(number) => Ok(number),
        None => fields.positive_or(old, default),
    };
    let theta = number("rope_theta", defaults.theta_field, defaults.theta)?;
    let partial = number("partial_rotary_factor", defaults.partial_field, defaults.partial)?;
    if !(partial > 0.0 && partial <= 1.0) {
        return Err(fields.invalid(defaults.partial_field, "above 0 and at most 1"));
    }
    if theta <= 1.0 {
        return Err(fields.invalid(defaults.theta_field, "above 1"));
    }
    let dim = (head_dim as f64 * partial) as usize / 2 * 2;
    let scaling = match nested {
        Some(nested) => scaling(fields, &nested, dim, max_positions)?,
        None => RopeScaling::None,
    };
    let reach = |positions: usize, factor: f64| (positions as f64 * factor) as usize;
    let reach = match &scaling {
        RopeScaling::Linear { factor } => reach(max_positions, *factor),
        RopeScaling::Dynamic { factor, original } | RopeScaling::Yarn { factor, original, .. } => {
            reach(*original, *factor)
        }
        _ => max_positions,
    };
    Ok((RopeConfig { dim, theta, scaling }, reach.max(max_positions)))
}

fn scaling(
    fields: &Fields<'_>,
    nested: &Fields<'_>,
    dim: usize,
    max_positions: usize,
) -> Result<RopeScaling, Error> {
    let field = if nested.has("rope_type") { "rope_type" } else { "type" };
    let is_phi3 = fields.opt_text("model_type")? == Some("phi3");
    let original = || -> Result<usize, Error> {
        let own = nested.opt_size("original_max_position_embeddings")?;
        Ok(own.or(fields.opt_size("original_max_position_embeddings")?).unwrap_or(max_positions))
    };
    let stretch = |original: usize| nested.positive_or("factor", max_positions as f64 / original as f64);
    Ok(match nested.opt_text(field)?.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: nested.positive("factor")? },
        "dynamic" => RopeScaling::Dynamic { factor: nested.positive("factor")?, original: max_positions },
        "llama3" => RopeScaling::ByWavelength {
            factor: nested.positive("factor")?,
            low: nested.positive("low_freq_factor")?,
            high: nested.positive("high_freq_factor")?,
            original: original()?,
        },
        "yarn" if !is_phi3 => {
            let original = original()?;
            let factor = stretch(original)?;
            let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
            let (mscale, all) = (nested.opt_number("mscale")?, nested.opt_number("mscale_all_dim")?);
            let attention_factor = match (nested.opt_number("attention_factor")?, mscale, all) {
                (Some(given), ..) => given,
                (None, Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => scale(mscale) / scale(all),
                _ => scale(1.0),
            };
            RopeScaling::Yarn {
                factor,
                original,
                beta_fast: nested.positive_or("beta_fast", 32.0)?,
                beta_slow: nested.positive_or("beta_slow", 1.0)?,
                truncate: nested.flag_or("truncate", true)?,
                attention_factor,
            }
        }
        // The first releases of Phi-3 called it `su`, later `yarn`.
        name if name == "longrope" || is_phi3 && matches!(name, "su" | "yarn") => {
            let original = original()?;
            let factor = stretch(original)?;
            let default =
                if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
            RopeScaling::LongRope {
                short: nested.positives("short_factor", dim / 2)?,
                long: nested.positives("long_factor", dim / 2)?,
                original,
                attention_factor: nested.positive_or("attention_factor", default)?,
            }
        }
        _ => return Err(nested.invalid(field, "default, linear, dynamic, llama3, yarn or longrope")),
    })
}
