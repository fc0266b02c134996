//! Rotary settings as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) write them, with the precedence that
//! transformers 5 gives them:
//!
//! - `rope_scaling` that is not empty replaces `rope_parameters` whole, its theta included: model cards tell users to add it.
//! - Within that object, `rope_type` goes before `type`, and its `rope_theta` and `partial_rotary_factor` before those outside.
//! - `original_max_position_embeddings` outside the object goes before the one inside.
//!
//! Families whose kinds of layers rotate differently have an object for each kind in `rope_parameters`; there, `rope_scaling`
//! is added to that of the layers that see everything.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::Error;
use crate::config::{LayerKind, ModelConfig, RopeConfig, RopePairing, RopeScaling};
use crate::fields::Fields;

/// The name of the scaling that turns only the first pairs of a head.
const PROPORTIONAL: &str = "proportional";

/// Defaults of a family for fields that its configuration lacks.
pub(super) struct RopeDefaults {
    pub(super) theta: f64,
    /// The dimensions that are rotated together.
    pub(super) pairing: RopePairing,
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
    /// Whether `alpha` in a `dynamic` scaling raises theta once and for all.
    pub(super) has_alpha: bool,
}

impl Default for RopeDefaults {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            pairing: RopePairing::Half,
            partial: None,
            original: None,
            theta_field: "rope_theta",
            partial_field: "partial_rotary_factor",
            longrope_names: &["longrope"],
            only_longrope: false,
            has_alpha: false,
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
    let reader = Reader { fields, nested: &nested, defaults, max_positions: config.max_positions };
    let rope = Arc::new(reader.rope(theta, config.attention.head_dim)?);
    stretch(config, &rope.scaling);
    config.layers.iter_mut().for_each(|layer| layer.rope = Some(rope.clone()));
    Ok(())
}

/// Stretches the longest context as far as the scaling allows.
fn stretch(config: &mut ModelConfig, scaling: &RopeScaling) {
    let reach = |positions: usize, factor: f64| (positions as f64 * factor) as usize;
    let reach = match scaling {
        RopeScaling::Linear { factor } => reach(config.max_positions, *factor),
        RopeScaling::Dynamic { factor, original } | RopeScaling::Yarn { factor, original, .. } => {
            reach(*original, *factor)
        }
        _ => config.max_positions,
    };
    config.max_positions = config.max_positions.max(reach);
}

/// Defaults of a family whose kinds of layers have rotary settings of their own.
pub(super) struct RopeByKind {
    /// Theta of the layers that see everything; `rope_theta` goes before it.
    pub(super) full: f64,
    /// Theta of the layers with a window.
    pub(super) sliding: f64,
    /// The field that goes before it.
    pub(super) sliding_field: Option<&'static str>,
}

impl RopeByKind {
    /// Reads the rotary settings of each kind of layer into a configuration whose heads, kinds of layers and longest context are
    /// known.
    pub(super) fn read_into(&self, config: &mut ModelConfig, fields: &Fields<'_>) -> Result<(), Error> {
        let parameters = fields.opt_object("rope_parameters")?;
        let mut full = settings(fields, parameters, "full_attention")?;
        let sliding = settings(fields, parameters, "sliding_attention")?;
        if let Some(scaling) = fields.opt_object("rope_scaling")? {
            if parameters.is_some_and(|all| !all.has("full_attention")) {
                return Err(fields.invalid("rope_scaling", "nothing, where rope_parameters is given"));
            }
            full.extend(scaling.map().clone());
        }
        let full_theta = fields.positive_or("rope_theta", self.full)?;
        let sliding_theta = match self.sliding_field {
            Some(field) => fields.positive_or(field, self.sliding)?,
            None => self.sliding,
        };
        let is_full = |kind: LayerKind| kind == LayerKind::Full;
        // Settings of a kind that no layer has are not read.
        let read = |wanted: bool, own: &Map<String, Value>, prefix: &'static str, theta: f64| {
            let layer = config.layers.iter().find(|layer| is_full(layer.kind) == wanted);
            let Some(layer) = layer else { return Ok(None) };
            let nested = fields.within(own, prefix);
            let theta = nested.positive_or("rope_theta", theta)?;
            let (defaults, max_positions) = (&RopeDefaults::default(), config.max_positions);
            let reader = Reader { fields: &fields.empty(), nested: &nested, defaults, max_positions };
            reader.rope(theta, config.attention_of(layer).head_dim).map(|rope| Some(Arc::new(rope)))
        };
        let full = read(true, &full, "rope_parameters.full_attention", full_theta)?;
        let sliding = read(false, &sliding, "rope_parameters.sliding_attention", sliding_theta)?;
        for layer in &mut config.layers {
            layer.rope = if is_full(layer.kind) { full.clone() } else { sliding.clone() };
        }
        if let Some(rope) = full.or(sliding) {
            stretch(config, &rope.scaling);
        }
        Ok(())
    }
}

/// The settings of a kind of layer in `rope_parameters`.
fn settings(
    fields: &Fields<'_>,
    parameters: Option<Fields<'_>>,
    kind: &str,
) -> Result<Map<String, Value>, Error> {
    let Some(parameters) = parameters else {
        // The plain encoding, which goes before the old name of a scaling's type.
        return Ok(Map::from_iter([("rope_type".to_owned(), Value::from("default"))]));
    };
    match parameters.map().get(kind) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(own)) => Ok(own.clone()),
        Some(_) => Err(fields.invalid("rope_parameters", "an object for each kind of layer")),
    }
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
    fn rope(&self, theta: f64, head_dim: usize) -> Result<RopeConfig, Error> {
        let dim = self.rotated(head_dim)?;
        if self.defaults.has_alpha && self.kind()? == "dynamic" {
            let alpha = self.nested.opt_number("alpha")?.filter(|&alpha| alpha != 0.0);
            if let Some(alpha) = alpha {
                let theta = theta * alpha.powf(dim as f64 / (dim as f64 - 2.0));
                let pairing = self.defaults.pairing;
                return Ok(RopeConfig { dim, pairing, theta, scaling: RopeScaling::None });
            }
        }
        Ok(RopeConfig { dim, pairing: self.defaults.pairing, theta, scaling: self.scaling(dim)? })
    }

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
            "default, linear, dynamic, llama3, yarn, longrope or proportional"
        };
        self.nested.invalid(field, expected)
    }

    /// Rotated dimensions of a head.
    fn rotated(&self, head_dim: usize) -> Result<usize, Error> {
        let field = "partial_rotary_factor";
        if self.kind()? == PROPORTIONAL && self.defaults.partial.is_none() {
            return self.even(head_dim, field);
        }
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
        self.even((head_dim as f64 * partial) as usize, field)
    }

    /// Dimensions that are rotated, in pairs.
    fn even(&self, dim: usize, field: &str) -> Result<usize, Error> {
        if dim > 0 && dim.is_multiple_of(2) {
            return Ok(dim);
        }
        let fields = if self.nested.is_absent(field) { self.fields } else { self.nested };
        Err(fields.invalid(field, format!("an even number of rotated dimensions, here it gives {dim}")))
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
            PROPORTIONAL if self.defaults.partial.is_none() => self.proportional(dim)?,
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

    /// The first pairs of a head, with the exponents of the whole head.
    fn proportional(&self, dim: usize) -> Result<RopeScaling, Error> {
        let part = self.nested.positive_or("partial_rotary_factor", 1.0)?;
        if part > 1.0 {
            return Err(self.nested.invalid("partial_rotary_factor", "above 0 and at most 1"));
        }
        let pairs = (part * dim as f64 / 2.0) as usize;
        Ok(RopeScaling::Proportional { pairs, factor: self.nested.positive_or("factor", 1.0)? })
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
