//! Which outputs and inputs of a matrix share a scale.

use std::fmt;

use super::grid::{Grid, ScaleType};
use super::matrix::{Codes, InputGroups, QuantizedLayout, Zeros};
use super::parts::{PartTensor, Parts, misfit};
use crate::Error;
use crate::fields::Fields;

/// Which outputs and inputs of a matrix share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// All.
    Tensor,
    /// Those of one output.
    Channel,
    /// So many neighbouring inputs of one output.
    Group(usize),
    /// Blocks of so many outputs and inputs.
    Block([usize; 2]),
}

/// What a field with the sizes of blocks has to be.
pub(super) const BLOCK_SIZES: &str = "two sizes from 1 to 65536";

/// Scales of a matrix, and its groups.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pub(super) grid: Grid,
    pub(super) outputs: usize,
    pub(super) inputs: InputGroups,
}

impl Groups {
    /// The layout of a weight `[outputs, columns]` with these scales.
    pub(super) fn layout(self, columns: usize, codes: Codes, zeros: Zeros) -> QuantizedLayout {
        let Self { grid, outputs, inputs } = self;
        QuantizedLayout {
            columns,
            codes,
            scales: grid,
            zeros,
            outputs_of_group: outputs,
            inputs_of_group: inputs,
        }
    }
}

impl Strategy {
    /// Blocks of the sizes that a field has, if it is there.
    pub(super) fn blocks(fields: &Fields<'_>, field: &str) -> Result<Option<Self>, Error> {
        match fields.opt_counts(field)?.as_deref() {
            None => Ok(None),
            Some(&[rows @ 1..=65536, columns @ 1..=65536]) => {
                Ok(Some(Self::Block([rows as usize, columns as usize])))
            }
            Some(_) => Err(fields.invalid(field, BLOCK_SIZES)),
        }
    }

    /// The groups of a matrix `[outputs, inputs]` whose scales, or zero points, are `part`.
    ///
    /// # Errors
    /// [`Error::QuantizedPart`] for another shape or type of `part`.
    pub(super) fn groups(
        self,
        parts: &impl Parts,
        name: &str,
        part: PartTensor<'_>,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Groups, Error> {
        let Some(number) = ScaleType::of(part.dtype) else {
            return Err(misfit(parts, name, &format!("{:?}", part.dtype), "F32, F16 or BF16"));
        };
        let (expected, stride, sizes) = match self {
            Self::Tensor => (vec![1], [0, 0], [usize::MAX, inputs]),
            Self::Channel => (vec![outputs, 1], [1, 0], [1, inputs]),
            Self::Group(size) => {
                let groups = inputs.div_ceil(size);
                (vec![outputs, groups], [groups, 1], [1, size])
            }
            Self::Block([rows, columns]) => {
                let groups = inputs.div_ceil(columns);
                (vec![outputs.div_ceil(rows), groups], [groups, 1], [rows, columns])
            }
        };
        // Axes of length 1 may be left out.
        let plain = |shape: &[usize]| shape.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        if part.shape.len() > 2 || plain(part.shape) != plain(&expected) {
            return Err(misfit(parts, name, &format!("of shape {:?}", part.shape), &format!("{expected:?}")));
        }
        Ok(Groups {
            grid: Grid::new(number, stride),
            outputs: sizes[0],
            inputs: InputGroups::Neighbours(sizes[1]),
        })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => write!(f, "one scale"),
            Self::Channel => write!(f, "a scale for each output"),
            Self::Group(size) => write!(f, "groups of {size}"),
            Self::Block([rows, columns]) => write!(f, "blocks of {rows} x {columns}"),
        }
    }
}
