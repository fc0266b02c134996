//! AWQ ([arXiv 2306.00978](https://arxiv.org/abs/2306.00978)) as AutoAWQ stores it for its matrix product (`gemm`): `qweight` and
//! `qzeros` pack neighbouring outputs, even ones first.

use std::fmt;

use safetensors::Dtype;

use super::gptq::{describe_group, read_group_size};
use super::grid::Grid;
use super::matrix::{Codes, InputGroups, QuantizedLayout, Zeros};
use super::packed_integers::{CodeOrder, PackedAxis, PackedIntegers};
use super::parts::{Parts, QuantizedWeight, float_scales, matrix_shape, require_shape, required};
use crate::Error;
use crate::fields::Fields;

/// Settings of the method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awq {
    /// Inputs that share a scale; `None` for all.
    group: Option<usize>,
}

/// Codes in a word.
const PER_WORD: usize = 8;

impl Awq {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        if fields.size_or("bits", 4)? != 4 {
            return Err(fields.invalid("bits", "4"));
        }
        let field = if fields.is_absent("version") { "format" } else { "version" };
        if !matches!(fields.opt_text(field)?, None | Some("gemm" | "GEMM")) {
            return Err(fields.invalid(field, "gemm"));
        }
        Ok(Self { group: read_group_size(fields)? })
    }

    /// The weight whose codes are the tensor `name`, if it holds such codes.
    pub(super) fn weight(self, parts: &impl Parts, name: &str) -> Result<Option<QuantizedWeight>, Error> {
        let Some(module) = name.strip_suffix(".qweight") else { return Ok(None) };
        let codes = required(parts, name, &[Dtype::I32])?;
        let [inputs, words] = matrix_shape(parts, name, codes)?;
        let outputs = words * PER_WORD;
        let size = self.group.unwrap_or(inputs);
        let groups = inputs.div_ceil(size);
        let [scales, zeros] = ["scales", "qzeros"].map(|part| format!("{module}.{part}"));
        let number = float_scales(parts, &scales, &[groups, outputs])?;
        require_shape(parts, &zeros, required(parts, &zeros, &[Dtype::I32])?, &[groups, words])?;
        let packed = PackedIntegers::new(4, words, PackedAxis::Columns).order(CodeOrder::EvenThenOdd);
        Ok(Some(QuantizedWeight {
            name: format!("{module}.weight"),
            shape: vec![outputs, inputs],
            layout: QuantizedLayout {
                columns: inputs,
                codes: Codes::ByInput(packed),
                scales: Grid::new(number, [1, outputs]),
                zeros: Zeros::ByInput(packed, 0.0),
                outputs_of_group: 1,
                inputs_of_group: InputGroups::Neighbours(size),
            },
            codes: name.to_owned(),
            scales,
            zeros: Some(zeros),
            others: Vec::new(),
        }))
    }
}

impl fmt::Display for Awq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWQ, 4 bits, {}", describe_group(self.group))
    }
}
