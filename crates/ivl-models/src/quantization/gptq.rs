//! GPTQ ([arXiv 2210.17323](https://arxiv.org/abs/2210.17323)) as AutoGPTQ and GPTQModel store it: `qweight` packs neighbouring
//! inputs, `qzeros` neighbouring outputs, `g_idx` has the group of each input.

use std::fmt;
use std::sync::Arc;

use safetensors::Dtype;

use super::grid::Grid;
use super::matrix::{Codes, InputGroups, QuantizedLayout, Zeros};
use super::packed_integers::{PackedAxis, PackedIntegers};
use super::parts::{
    PartTensor, Parts, QuantizedWeight, float_scales, matrix_shape, misfit, require_shape, required,
};
use crate::Error;
use crate::fields::Fields;

/// Settings of the method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gptq {
    bits: u32,
    /// Inputs that share a scale; `None` for all.
    group: Option<usize>,
    /// What a zero point is more than the stored number: 1 in the first version of the format.
    zero_plus: f32,
}

/// Reads `group_size`, where -1 means all inputs.
pub(super) fn read_group_size(fields: &Fields<'_>) -> Result<Option<usize>, Error> {
    match fields.opt_number("group_size")? {
        Some(-1.0) => Ok(None),
        _ => fields.size_or("group_size", 128).map(Some),
    }
}

impl Gptq {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        let bits = match fields.size("bits")? {
            4 => 4,
            8 => 8,
            _ => return Err(fields.invalid("bits", "4 or 8")),
        };
        let field = if fields.is_absent("checkpoint_format") { "format" } else { "checkpoint_format" };
        let zero_plus = match fields.opt_text(field)? {
            None | Some("gptq") => 1.0,
            Some("gptq_v2") => 0.0,
            Some(_) => return Err(fields.invalid(field, "gptq or gptq_v2")),
        };
        if !matches!(fields.opt_text("pack_dtype")?, None | Some("int32")) {
            return Err(fields.invalid("pack_dtype", "int32"));
        }
        if fields.opt_flag("is_marlin_format")?.unwrap_or(false) {
            return Err(fields.invalid("is_marlin_format", "false"));
        }
        Ok(Self { bits, group: read_group_size(fields)?, zero_plus })
    }

    /// The weight whose codes are the tensor `name`, if it holds such codes.
    pub(super) fn weight(self, parts: &impl Parts, name: &str) -> Result<Option<QuantizedWeight>, Error> {
        let Some(module) = name.strip_suffix(".qweight") else { return Ok(None) };
        let per_word = (32 / self.bits) as usize;
        let codes = required(parts, name, &[Dtype::I32])?;
        let [words, outputs] = matrix_shape(parts, name, codes)?;
        let inputs = words * per_word;
        if !outputs.is_multiple_of(per_word) {
            let expected = format!("a multiple of {per_word} outputs");
            return Err(misfit(parts, name, &format!("of shape {:?}", codes.shape), &expected));
        }
        let groups = inputs.div_ceil(self.group.unwrap_or(inputs));
        let [scales, zeros, order] = ["scales", "qzeros", "g_idx"].map(|part| format!("{module}.{part}"));
        let number = float_scales(parts, &scales, &[groups, outputs])?;
        require_shape(parts, &zeros, required(parts, &zeros, &[Dtype::I32])?, &[groups, outputs / per_word])?;
        let inputs_of_group = match parts.part(&order) {
            Some(part) => listed_groups(parts, &order, part, inputs, groups)?,
            None => InputGroups::Neighbours(self.group.unwrap_or(inputs)),
        };
        let zero_points = PackedIntegers::new(self.bits, outputs / per_word, PackedAxis::Columns);
        Ok(Some(QuantizedWeight {
            name: format!("{module}.weight"),
            shape: vec![outputs, inputs],
            layout: QuantizedLayout {
                columns: inputs,
                codes: Codes::ByInput(PackedIntegers::new(self.bits, outputs, PackedAxis::Rows)),
                scales: Grid::new(number, [1, outputs]),
                zeros: Zeros::ByInput(zero_points, self.zero_plus),
                outputs_of_group: 1,
                inputs_of_group,
            },
            codes: name.to_owned(),
            scales,
            zeros: Some(zeros),
            others: vec![order],
        }))
    }
}

/// The group of each input, from a tensor.
///
/// # Errors
/// [`Error::QuantizedPart`] for another shape or type, and for groups that have no scales.
pub(super) fn listed_groups(
    parts: &impl Parts,
    name: &str,
    part: PartTensor<'_>,
    inputs: usize,
    groups: usize,
) -> Result<InputGroups, Error> {
    required(parts, name, &[Dtype::I32])?;
    require_shape(parts, name, part, &[inputs])?;
    let all = part.bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
    let listed: Option<Arc<[u32]>> =
        all.map(|group| u32::try_from(group).ok().filter(|&group| (group as usize) < groups)).collect();
    let expected = format!("groups from 0 to {}", groups - 1);
    let listed = listed.ok_or_else(|| misfit(parts, name, "a list with other numbers", &expected))?;
    Ok(InputGroups::Listed(listed))
}

impl fmt::Display for Gptq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPTQ, {} bits, {}", self.bits, describe_group(self.group))
    }
}

/// `groups of 128`, or `a scale for each output`.
pub(super) fn describe_group(group: Option<usize>) -> String {
    group.map_or("a scale for each output".to_owned(), |size| format!("groups of {size}"))
}
