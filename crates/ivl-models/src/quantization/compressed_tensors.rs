//! compressed-tensors, as LLM Compressor writes it: `weight_packed` with `weight_shape`, or `weight` in whole numbers or floats of
//! eight bits; `weight_scale`, and `weight_zero_point` where numbers are not symmetric.

use std::fmt;

use safetensors::Dtype;
use serde_json::Value;

use super::fp8::FLOAT8;
use super::gptq::listed_groups;
use super::grid::ScaleType;
use super::matrix::{Codes, Zeros};
use super::module_patterns::{ModulePatterns, PatternStyle};
use super::packed_integers::{PackedAxis, PackedIntegers};
use super::parts::{PartTensor, Parts, QuantizedWeight, matrix_shape, misfit, require_shape, required};
use super::strategy::{BLOCK_SIZES, Strategy};
use crate::Error;
use crate::fields::Fields;

/// The settings of all groups of modules.
#[derive(Debug, Clone)]
pub(super) struct CompressedTensors {
    groups: Vec<ModuleGroup>,
}

/// Modules with the same settings.
#[derive(Debug, Clone)]
struct ModuleGroup {
    targets: ModulePatterns,
    weights: WeightSettings,
}

/// How weights are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WeightSettings {
    bits: u32,
    is_float: bool,
    strategy: Strategy,
}

/// Formats of the tensors.
const FORMATS: [&str; 4] = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"];

/// More groups than any configuration has.
const MOST_GROUPS: usize = 64;

/// The class of all matrices, which a group may name in place of modules.
const ALL_MATRICES: &str = "Linear";

impl CompressedTensors {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        let status = fields.opt_text("quantization_status")?;
        if !matches!(status, None | Some("compressed")) {
            return Err(fields.invalid("quantization_status", "compressed"));
        }
        let format = fields.opt_text("format")?;
        // Each group then has a format of its own.
        let is_mixed = format == Some("mixed-precision");
        if !is_mixed && !format.is_some_and(|format| FORMATS.contains(&format)) {
            return Err(fields.invalid("format", format!("one of {}", FORMATS.join(", "))));
        }
        for (field, plain) in [("sparsity_config", "dense"), ("transform_config", "")] {
            let Some(config) = fields.opt_object(field)?.filter(|config| !config.is_empty()) else {
                continue;
            };
            if plain.is_empty() || config.opt_text("format")? != Some(plain) {
                return Err(
                    fields.invalid(field, "nothing: ivl reads weights that are neither sparse nor rotated")
                );
            }
        }
        let Some(all) = fields.opt_object("config_groups")? else {
            return Err(fields.invalid("config_groups", "an object for each group of modules"));
        };
        let mut groups = Vec::new();
        for group in all.map().values() {
            let Value::Object(group) = group else {
                return Err(fields.invalid("config_groups", "an object for each group of modules"));
            };
            let group = all.within(group, "quantization_config.config_groups");
            if let Some(format) = group.opt_text("format")?.filter(|format| !FORMATS.contains(format)) {
                return Err(group.invalid("format", format!("one of {}, not {format}", FORMATS.join(", "))));
            }
            let targets = ModulePatterns::read(&group, "targets", PatternStyle::CompressedTensors)?;
            if let Some(weights) = group.opt_object("weights")? {
                groups.push(ModuleGroup { targets, weights: WeightSettings::read(&weights)? });
            }
        }
        if groups.is_empty() || groups.len() > MOST_GROUPS {
            let expected = format!("from 1 to {MOST_GROUPS} groups with settings of weights");
            return Err(fields.invalid("config_groups", expected));
        }
        Ok(Self { groups })
    }

    /// The settings of a module: those of a group that names it go before those of a group for all matrices.
    fn settings(&self, module: &str) -> Option<WeightSettings> {
        let named = self.groups.iter().find(|group| group.targets.contains(module));
        let found = named.or_else(|| self.groups.iter().find(|group| group.targets.names(ALL_MATRICES)));
        found.map(|group| group.weights)
    }

    /// The weight whose codes are the tensor `name`, if it holds such codes.
    pub(super) fn weight(&self, parts: &impl Parts, name: &str) -> Result<Option<QuantizedWeight>, Error> {
        let Some((module, kind)) = name.rsplit_once('.') else { return Ok(None) };
        let Some(codes) = parts.part(name).filter(|_| ["weight", "weight_packed"].contains(&kind)) else {
            return Ok(None);
        };
        let is_plain = [Dtype::F32, Dtype::F16, Dtype::BF16].contains(&codes.dtype);
        let Some(settings) = self.settings(module).filter(|_| !is_plain) else { return Ok(None) };
        let part = |part: &str| format!("{module}.{part}");
        let (shape, codes) = match kind {
            "weight_packed" => settings.packed(parts, module, name, codes)?,
            _ => (matrix_shape(parts, name, codes)?, settings.bytes(parts, name, codes)?),
        };
        let scales = part("weight_scale");
        let found = required(parts, &scales, &ScaleType::FLOATS)?;
        let mut groups = settings.strategy.groups(parts, &scales, found, shape)?;
        let order = part("weight_g_idx");
        if let (Some(listed), Strategy::Group(size)) = (parts.part(&order), settings.strategy)
            // The order is not set where the modules were not ordered.
            && listed.bytes.iter().any(|&byte| byte != 0xff)
        {
            groups.inputs = listed_groups(parts, &order, listed, shape[1], shape[1].div_ceil(size))?;
        }
        let zero_points = part("weight_zero_point");
        let zeros = match parts.part(&zero_points) {
            None => Zeros::All(0.0),
            Some(part) => settings.zeros(parts, &zero_points, part, shape)?,
        };
        Ok(Some(QuantizedWeight {
            name: part("weight"),
            shape: shape.to_vec(),
            layout: groups.layout(shape[1], codes, zeros),
            codes: name.to_owned(),
            scales,
            zeros: parts.part(&zero_points).map(|_| zero_points),
            others: vec![part("weight_shape"), order],
        }))
    }
}

impl WeightSettings {
    fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        let bits = match fields.size_or("num_bits", 8)? {
            4 => 4,
            8 => 8,
            _ => return Err(fields.invalid("num_bits", "4 or 8")),
        };
        let is_float = match fields.opt_text("type")? {
            None | Some("int") => false,
            Some("float") if bits == 8 => true,
            Some("float") => return Err(fields.invalid("num_bits", "8 for floats")),
            Some(_) => return Err(fields.invalid("type", "int or float")),
        };
        let group = || fields.size("group_size");
        let strategy = match fields.opt_text("strategy")? {
            Some("tensor") => Strategy::Tensor,
            Some("channel") => Strategy::Channel,
            Some("group") => Strategy::Group(group()?),
            Some("block") => {
                let field = "block_structure";
                Strategy::blocks(fields, field)?.ok_or_else(|| fields.invalid(field, BLOCK_SIZES))?
            }
            Some(_) => return Err(fields.invalid("strategy", "tensor, channel, group or block")),
            None => match fields.opt_number("group_size")? {
                None => Strategy::Tensor,
                Some(-1.0) => Strategy::Channel,
                Some(_) => Strategy::Group(group()?),
            },
        };
        Ok(Self { bits, is_float, strategy })
    }

    /// Shape and codes of a packed weight.
    fn packed(
        self,
        parts: &impl Parts,
        module: &str,
        name: &str,
        codes: PartTensor<'_>,
    ) -> Result<([usize; 2], Codes), Error> {
        required(parts, name, &[Dtype::I32])?;
        let [outputs, words] = matrix_shape(parts, name, codes)?;
        let shape_name = format!("{module}.weight_shape");
        let stored = required(parts, &shape_name, &[Dtype::I64, Dtype::I32])?;
        let width = if stored.dtype == Dtype::I64 { 8 } else { 4 };
        require_shape(parts, &shape_name, stored, &[2])?;
        let size = |axis: usize| {
            let bytes = &stored.bytes[axis * width..(axis + 1) * width];
            // Sizes of more than 32 bits fit no tensor.
            let fits = bytes[4..].iter().all(|&byte| byte == 0);
            let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            if fits { low as usize } else { 0 }
        };
        let (per_word, inputs) = ((32 / self.bits) as usize, size(1));
        if size(0) != outputs || inputs == 0 || inputs.div_ceil(per_word) != words {
            let got = format!("of shape {:?}", codes.shape);
            let expected = format!(
                "[{}, {}], {} codes of {} bits in each word, as weight_shape says",
                size(0),
                inputs.div_ceil(per_word),
                per_word,
                self.bits
            );
            return Err(misfit(parts, name, &got, &expected));
        }
        let packed = PackedIntegers::new(self.bits, words, PackedAxis::Columns);
        Ok(([outputs, inputs], Codes::ByOutput(packed.offset(1 << (self.bits - 1)))))
    }

    /// Codes of a byte each.
    fn bytes(self, parts: &impl Parts, name: &str, codes: PartTensor<'_>) -> Result<Codes, Error> {
        if self.is_float {
            let float = FLOAT8.iter().find(|(dtype, _)| *dtype == codes.dtype);
            let got = format!("{:?}", codes.dtype);
            let (_, float) = float.ok_or_else(|| misfit(parts, name, &got, "F8_E4M3 or F8_E5M2"))?;
            return Ok(Codes::Float8(*float));
        }
        required(parts, name, &[Dtype::I8]).map(|_| Codes::Int8)
    }

    /// Zero points: one byte each, or packed as codes are.
    fn zeros(
        self,
        parts: &impl Parts,
        name: &str,
        part: PartTensor<'_>,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Zeros, Error> {
        if part.dtype != Dtype::I32 {
            let part = required(parts, name, &[Dtype::I8, Dtype::F32, Dtype::F16, Dtype::BF16])?;
            return Ok(Zeros::Grid(self.strategy.groups(parts, name, part, [outputs, inputs])?.grid));
        }
        let groups = match self.strategy {
            Strategy::Group(size) => inputs.div_ceil(size),
            _ => 1,
        };
        let per_word = (32 / self.bits) as usize;
        require_shape(parts, name, part, &[outputs.div_ceil(per_word), groups])?;
        let packed = PackedIntegers::new(self.bits, groups, PackedAxis::Rows);
        Ok(Zeros::ByOutput(packed.offset(1 << (self.bits - 1))))
    }
}

impl fmt::Display for CompressedTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compressed-tensors")?;
        for (index, WeightSettings { bits, is_float, strategy }) in
            self.groups.iter().map(|group| group.weights).enumerate()
        {
            let kind = if is_float { "float" } else { "int" };
            write!(f, "{} {kind}{bits}, {strategy}", if index == 0 { "," } else { ";" })?;
        }
        Ok(())
    }
}
