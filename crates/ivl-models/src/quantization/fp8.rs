//! Floats of eight bits, as DeepSeek and Qwen publish them: `weight` and `weight_scale_inv`, by which it is multiplied.

use std::fmt;

use safetensors::Dtype;

use super::float8::Float8;
use super::matrix::{Codes, Zeros};
use super::parts::{Parts, QuantizedWeight, matrix_shape, required};
use super::strategy::Strategy;
use crate::Error;
use crate::fields::Fields;

/// The types of the codes.
pub(super) const FLOAT8: [(Dtype, Float8); 2] =
    [(Dtype::F8_E4M3, Float8::E4M3), (Dtype::F8_E5M2, Float8::E5M2)];

/// Settings of the method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fp8 {
    /// Blocks that share a scale; without them a scale is for the whole matrix or for an output.
    blocks: Option<Strategy>,
}

impl Fp8 {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { blocks: Strategy::blocks(fields, "weight_block_size")? })
    }

    /// The weight whose codes are the tensor `name`, if it holds such codes.
    pub(super) fn weight(self, parts: &impl Parts, name: &str) -> Result<Option<QuantizedWeight>, Error> {
        let Some(module) = name.strip_suffix(".weight") else { return Ok(None) };
        let Some(codes) = parts.part(name) else { return Ok(None) };
        let Some(&(_, float)) = FLOAT8.iter().find(|(dtype, _)| *dtype == codes.dtype) else {
            return Ok(None);
        };
        let shape = matrix_shape(parts, name, codes)?;
        let [inverse, plain] = ["weight_scale_inv", "weight_scale"].map(|part| format!("{module}.{part}"));
        let scales = if parts.part(&plain).is_some() { plain } else { inverse };
        let types = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E8M0];
        let part = required(parts, &scales, &types)?;
        let strategy = match (self.blocks, part.shape.iter().product::<usize>()) {
            (Some(blocks), _) => blocks,
            (None, 1) => Strategy::Tensor,
            (None, _) => Strategy::Channel,
        };
        let groups = strategy.groups(parts, &scales, part, shape)?;
        Ok(Some(QuantizedWeight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            layout: groups.layout(shape[1], Codes::Float8(float), Zeros::All(0.0)),
            codes: name.to_owned(),
            scales,
            zeros: None,
            others: Vec::new(),
        }))
    }
}

impl fmt::Display for Fp8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.blocks {
            Some(blocks) => write!(f, "fp8, {blocks}"),
            None => write!(f, "fp8"),
        }
    }
}
