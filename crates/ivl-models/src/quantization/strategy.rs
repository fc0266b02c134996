//! Which outputs and inputs of a matrix share a scale.

use super::grid::{Grid, ScaleType};
use super::matrix::InputGroups;
use super::parts::{PartTensor, Parts, misfit};
use crate::Error;

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

/// Scales of a matrix, and its groups.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pub(super) grid: Grid,
    pub(super) outputs: usize,
    pub(super) inputs: InputGroups,
}

impl Strategy {
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
