//! MXFP4 (OCP microscaling formats, version 1.0) as gpt-oss stores its experts: floats of four bits in `.._blocks`, and for each 32 of
//! them a power of two in `.._scales`.

use safetensors::Dtype;

use super::grid::{Grid, ScaleType};
use super::matrix::{Codes, InputGroups, QuantizedLayout, Zeros};
use super::parts::{Parts, QuantizedWeight, misfit, require_shape, required};
use crate::Error;

/// Numbers of a block.
const BLOCK: usize = 32;

/// The weight `[experts, outputs, inputs]` whose codes are the tensor `name`, if it holds such codes. It keeps the name of the codes:
/// the name without the ending is that of the weight stored as floats, which transformers keeps as `[experts, inputs, outputs]`.
pub(super) fn weight(parts: &impl Parts, name: &str) -> Result<Option<QuantizedWeight>, Error> {
    let Some(stem) = name.strip_suffix("_blocks") else { return Ok(None) };
    let codes = required(parts, name, &[Dtype::U8])?;
    let [experts, outputs, blocks, 16] = *codes.shape else {
        let got = format!("of shape {:?}", codes.shape);
        return Err(misfit(parts, name, &got, "[experts, outputs, blocks, 16]"));
    };
    let scales = format!("{stem}_scales");
    require_shape(parts, &scales, required(parts, &scales, &[Dtype::U8])?, &[experts, outputs, blocks])?;
    let inputs = blocks * BLOCK;
    if experts == 0 || outputs == 0 || inputs == 0 {
        return Err(misfit(
            parts,
            name,
            &format!("of shape {:?}", codes.shape),
            "a tensor that is not empty",
        ));
    }
    Ok(Some(QuantizedWeight {
        name: name.to_owned(),
        shape: vec![experts, outputs, inputs],
        layout: QuantizedLayout {
            columns: inputs,
            codes: Codes::Float4,
            scales: Grid::new(ScaleType::Exponent, [blocks, 1]),
            zeros: Zeros::All(0.0),
            outputs_of_group: 1,
            inputs_of_group: InputGroups::Neighbours(BLOCK),
        },
        codes: name.to_owned(),
        scales,
        zeros: None,
        others: Vec::new(),
    }))
}
