//! The tensors that a quantised weight is made of.

use std::path::Path;

use safetensors::Dtype;

use super::grid::ScaleType;
use super::matrix::QuantizedLayout;
use crate::Error;

/// A tensor of a checkpoint, whose bytes are in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartTensor<'a> {
    /// The type of its elements.
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

/// The tensors of a checkpoint, by name.
pub(crate) trait Parts {
    /// The checkpoint, for errors.
    fn dir(&self) -> &Path;

    /// A tensor.
    fn part(&self, name: &str) -> Option<PartTensor<'_>>;
}

/// A weight that is put together from several tensors.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedWeight {
    /// The name of the weight, for example `model.layers.0.mlp.up_proj.weight`.
    pub(crate) name: String,
    /// `[outputs, inputs]`, or `[experts, outputs, inputs]`.
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: QuantizedLayout,
    /// The tensor of codes.
    pub(crate) codes: String,
    /// The tensor of scales.
    pub(crate) scales: String,
    /// The tensor of zero points.
    pub(crate) zeros: Option<String>,
    /// Tensors that belong to the weight and hold none of its numbers.
    pub(crate) others: Vec<String>,
}

/// A tensor that a quantised weight must have, of one of these types.
///
/// # Errors
/// [`Error::QuantizedPart`] if it is absent or of another type.
pub(super) fn required<'a>(
    parts: &'a impl Parts,
    name: &str,
    types: &[Dtype],
) -> Result<PartTensor<'a>, Error> {
    let expected = || types.iter().map(|dtype| format!("{dtype:?}")).collect::<Vec<_>>().join(" or ");
    let Some(part) = parts.part(name) else {
        return Err(misfit(parts, name, "absent", &format!("a tensor of type {}", expected())));
    };
    if !types.contains(&part.dtype) {
        return Err(misfit(parts, name, &format!("{:?}", part.dtype), &expected()));
    }
    Ok(part)
}

/// The error that a part of a quantised weight does not fit the others.
pub(super) fn misfit(parts: &impl Parts, name: &str, got: &str, expected: &str) -> Error {
    Error::QuantizedPart {
        dir: parts.dir().to_owned(),
        part: name.to_owned(),
        got: got.to_owned(),
        expected: expected.to_owned(),
    }
}

/// Requires a shape.
///
/// # Errors
/// [`Error::QuantizedPart`] for another one.
pub(super) fn require_shape(
    parts: &impl Parts,
    name: &str,
    part: PartTensor<'_>,
    expected: &[usize],
) -> Result<(), Error> {
    if part.shape == expected {
        return Ok(());
    }
    Err(misfit(parts, name, &format!("of shape {:?}", part.shape), &format!("{expected:?}")))
}

/// The type of the scales of a weight, which are floats of a shape.
///
/// # Errors
/// As [`required`] and [`require_shape`].
pub(super) fn float_scales(parts: &impl Parts, name: &str, shape: &[usize]) -> Result<ScaleType, Error> {
    let part = required(parts, name, &ScaleType::FLOATS)?;
    require_shape(parts, name, part, shape)?;
    Ok(ScaleType::of(part.dtype).expect("floats are a type of scales"))
}

/// The two sizes of a matrix.
///
/// # Errors
/// [`Error::QuantizedPart`] for a tensor of another number of axes.
pub(super) fn matrix_shape(
    parts: &impl Parts,
    name: &str,
    part: PartTensor<'_>,
) -> Result<[usize; 2], Error> {
    match *part.shape {
        [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(misfit(parts, name, &format!("of shape {:?}", part.shape), "a matrix")),
    }
}
