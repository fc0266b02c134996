//! Rotary settings as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) write them, with the precedence that
//! transformers 5 gives them:
//!
//! - `rope_scaling` that is not empty replaces `rope_parameters` whole, its theta included: model cards tell users to add it.
//! - Within that object, `rope_type` goes before `type`, and its `rope_theta` and `partial_rotary_factor` before those outside.
//! - `original_max_position_embeddings` outside the object goes before the one inside.

use crate::Error;
use crate::config::{ModelConfig, Position, RopeConfig, RopeScaling};
use crate::fields::Fields;

/// Defaults of a family for fields that its configuration lacks.
pub(super) struct RopeDefaults {
    pub(super) theta: f64,
    /// The rotated part of a head; `None` if heads of the family are rotated whole, whatever a field says.
    pub(super) partial: Option<f64>,
    /// `original_max_position_embeddings`, where the family has it outside the object.
    pub(super) original: Option<usize>,
    /// Fields of transformers 4 for theta and the rotated part.
    pub(super) theta_field: &'static str,
    pub(super) partial_field: &'static str,
    /// The names of LongRoPE.
    pub(super) longrope_names: &'static [&'static str],
    /// Whether the family knows no other scaling.
    pub(super) only_longrope: bool,
}

impl Default for RopeDefaults {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            partial: None,
            original: None,
            theta_field: "rope_theta",
            partial_field: "partial_rotary_factor",
            longrope_names: &["longrope"],
            only_longrope: false,
        }
    }
}

/// Reads the rotary settings into a configuration whose heads and longest context are known, and stretches that context as far as
/// they allow.
pub(super) fn read_into(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    defaults: &RopeDefaults,
) -> Result<(), Error> {
    let scaled = fields.opt_object("rope_scaling")?.filter(|scaling| !scaling.is_empty());
    let nested = scaled.or(fields.opt_object("rope_parameters")?).unwrap_or(fields.empty());
    if nested.has("full_attention") || nested.has("sliding_attention") {
        return Err(fields.invalid("rope_parameters", "one set of parameters for all layers"));
    }
    let theta = if nested.is_absent("rope_theta") {
        fields.positive_or(defaults.theta_field, defaults.theta)?
    } else {
        nested.positive("rope_theta")?
    };
    let head_dim = config.attention.head_dim;
    let reader = Reader { fields, nested: &nested, defaults, max_positions: config.max_positions };
    let dim = reader.rotated(head_dim)?;
    let scaling = reader.scaling(dim)?;
    let reach = |positions: usize, factor: f64| (positions as f64 * factor) as usize;
    let reach = match &scaling {
        RopeScaling::Linear { factor } => reach(config.max_positions, *factor),
        RopeScaling::Dynamic { factor, original } | RopeScaling::Yarn { factor, original, .. } => {
            reach(*original, *factor)
        }
        _ => config.max_positions,
    };
    config.max_positions = config.max_positions.max(reach);
    config.position = Position::Rope(RopeConfig { dim, theta, scaling });
    Ok(())
}

struct Reader<'a> {
    /// The whole file.
    fields: &'a Fields<'a>,
    /// The object with the rotary settings; empty if it is missing.
    nested: &'a Fields<'a>,
    defaults: &'a RopeDefaults,
    max_positions: usize,
}

impl Reader<'_> {
    /// The name of the scaling.
    fn kind(&self) -> Result<&str, Error> {
        let field = if self.nested.is_absent("rope_type") { "type" } else { "rope_type" };
        if self.nested.is_absent(field) {
            return Ok("default");
        }
        self.nested.opt_text(field)?.ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> Error {
        let field = if self.nested.is_absent("rope_type") { "type" } else { "rope_type" };
        let expected = if self.defaults.only_longrope {
            "default or longrope"
        } else {
            "default, linear, dynamic, llama3, yarn or longrope"
        };
        self.nested.invalid(field, expected)
    }

    /// Rotated dimensions of a head.
    fn rotated(&self, head_dim: usize) -> Result<usize, Error> {
        let field = "partial_rotary_factor";
        let (fields, field) = match self.nested.is_absent(field) {
            true => (self.fields, self.defaults.partial_field),
            false => (self.nested, field),
        };
        let partial = match self.defaults.partial {
            Some(default) => fields.positive_or(field, default)?,
            // With the plain encoding the field is not read; any other would rotate heads that do not fit.
            None if self.kind()? == "default" => 1.0,
            None => fields.opt_number(field)?.unwrap_or(1.0),
        };
        if !(partial > 0.0 && partial <= 1.0 && (self.defaults.partial.is_some() || partial == 1.0)) {
            let range = if self.defaults.partial.is_some() { "above 0 and at most 1" } else { "1" };
            return Err(fields.invalid(field, range));
        }
        match (head_dim as f64 * partial) as usize {
            dim if dim > 0 && dim.is_multiple_of(2) => Ok(dim),
            dim => {
                Err(fields
                    .invalid(field, format!("an even number of rotated dimensions, here it gives {dim}")))
            }
        }
    }

    /// The context of pre-training.
    fn original(&self) -> Result<usize, Error> {
        let field = "original_max_position_embeddings";
        match (self.fields.is_absent(field), self.defaults.original) {
            (false, _) => self.fields.size(field),
            (true, Some(default)) => Ok(default),
            (true, None) => self.nested.size_or(field, self.max_positions),
        }
    }

    fn scaling(&self, dim: usize) -> Result<RopeScaling, Error> {
        let kind = self.kind()?;
        if self.defaults.longrope_names.contains(&kind) {
            return self.longrope(dim);
        }
        Ok(match kind {
            "default" => RopeScaling::None,
            _ if self.defaults.only_longrope => return Err(self.unknown()),
            "linear" => RopeScaling::Linear { factor: self.nested.positive("factor")? },
            "dynamic" => {
                RopeScaling::Dynamic { factor: self.nested.positive("factor")?, original: self.max_positions }
            }
            "llama3" => RopeScaling::ByWavelength {
                factor: self.nested.positive("factor")?,
                low: self.nested.positive("low_freq_factor")?,
                high: self.nested.positive("high_freq_factor")?,
                original: self.original()?,
            },
            "yarn" => self.yarn()?,
            _ => return Err(self.unknown()),
        })
    }

    /// How far the context is stretched where `factor` is null.
    fn ratio(&self, original: usize) -> f64 {
        self.max_positions as f64 / original as f64
    }

    fn yarn(&self) -> Result<RopeScaling, Error> {
        let nested = self.nested;
        let original = self.original()?;
        if nested.is_absent("factor") {
            return Err(nested.invalid("factor", "a number above 0, or null for the ratio of the contexts"));
        }
        let factor = nested.positive_unless_null("factor", 1.0)?.unwrap_or_else(|| self.ratio(original));
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let nonzero = |field| Ok::<_, Error>(nested.opt_number(field)?.filter(|&number| number != 0.0));
        let (mscale, all) = (nonzero("mscale")?, nonzero("mscale_all_dim")?);
        let attention_factor = match (nested.opt_number("attention_factor")?, mscale, all) {
            (Some(given), ..) => given,
            (None, Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original,
            beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
            beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
            // A null is false to Python.
            truncate: nested.is_absent("truncate") || nested.opt_flag("truncate")?.unwrap_or(false),
            attention_factor,
        })
    }

    fn longrope(&self, dim: usize) -> Result<RopeScaling, Error> {
        let nested = self.nested;
        let original = self.original()?;
        let factor = nested.opt_number("factor")?.unwrap_or_else(|| self.ratio(original));
        let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
        Ok(RopeScaling::LongRope {
            short: nested.positives("short_factor", dim / 2)?,
            long: nested.positives("long_factor", dim / 2)?,
            original,
            attention_factor: nested.opt_number("attention_factor")?.unwrap_or(default),
        })
    }
}
