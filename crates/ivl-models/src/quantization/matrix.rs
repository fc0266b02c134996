//! The numbers of a quantised weight.

use std::sync::Arc;

use super::float8::{FLOAT4, Float8};
use super::grid::Grid;
use super::packed_integers::PackedIntegers;

/// How a weight `[.., outputs, inputs]` is put together from codes, zero points and scales. The outputs of all experts of a stack
/// are counted in a row.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedLayout {
    /// Inputs.
    pub(super) columns: usize,
    pub(super) codes: Codes,
    pub(super) scales: Grid,
    pub(super) zeros: Zeros,
    /// Neighbouring outputs that share scales.
    pub(super) outputs_of_group: usize,
    pub(super) inputs_of_group: InputGroups,
}

/// The codes of a weight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Codes {
    /// Floats of eight bits, `[outputs, inputs]`.
    Float8(Float8),
    /// Floats of four bits, two in a byte, the first in the lower half, `[outputs, inputs]`.
    Float4,
    /// Whole numbers from -128 to 127, `[outputs, inputs]`.
    Int8,
    /// Packed `[outputs, inputs]`.
    ByOutput(PackedIntegers),
    /// Packed `[inputs, outputs]`.
    ByInput(PackedIntegers),
}

/// What is subtracted from codes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zeros {
    /// The same for all codes.
    All(f32),
    /// A number for each group.
    Grid(Grid),
    /// Packed `[groups of inputs, outputs]`; the number is `plus` more than the stored one.
    ByInput(PackedIntegers, f32),
    /// Packed `[outputs, groups of inputs]`.
    ByOutput(PackedIntegers),
}

/// The groups of inputs.
#[derive(Debug, Clone)]
pub(super) enum InputGroups {
    /// Neighbours, so many in each.
    Neighbours(usize),
    /// The group of each input.
    Listed(Arc<[u32]>),
}

/// A quantised weight, whose parts lie in files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuantizedMatrix<'a> {
    layout: &'a QuantizedLayout,
    codes: &'a [u8],
    scales: &'a [u8],
    zeros: &'a [u8],
}

impl<'a> QuantizedMatrix<'a> {
    /// The bytes of codes, scales and zero points.
    pub(crate) fn new(
        layout: &'a QuantizedLayout,
        codes: &'a [u8],
        scales: &'a [u8],
        zeros: Option<&'a [u8]>,
    ) -> Self {
        Self { layout, codes, scales, zeros: zeros.unwrap_or_default() }
    }

    /// Reads as many numbers as `out` holds, from number `first` on.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub(crate) fn read(&self, first: usize, mut out: &mut [f32]) {
        let columns = self.layout.columns;
        let mut at = first;
        while !out.is_empty() {
            let (row, column) = (at / columns, at % columns);
            let count = (columns - column).min(out.len());
            let (now, rest) = out.split_at_mut(count);
            self.read_row(row, column, now);
            (out, at) = (rest, at + count);
        }
    }

    /// Neighbouring numbers of one output.
    fn read_row(&self, row: usize, column: usize, out: &mut [f32]) {
        self.read_codes(row, column, out);
        let outputs = row / self.layout.outputs_of_group;
        let groups = match &self.layout.inputs_of_group {
            InputGroups::Neighbours(size) => {
                let mut rest = out;
                let mut at = column;
                while !rest.is_empty() {
                    let group = at / size;
                    let count = ((group + 1) * size - at).min(rest.len());
                    let (now, others) = rest.split_at_mut(count);
                    let [zero, scale] = self.group(row, outputs, group);
                    for number in now.iter_mut() {
                        *number = (*number - zero) * scale;
                    }
                    (rest, at) = (others, at + count);
                }
                return;
            }
            InputGroups::Listed(groups) => groups,
        };
        let count = groups.iter().max().map_or(0, |&last| last as usize + 1);
        let of_groups: Vec<[f32; 2]> = (0..count).map(|group| self.group(row, outputs, group)).collect();
        for (number, &group) in out.iter_mut().zip(&groups[column..]) {
            let [zero, scale] = of_groups[group as usize];
            *number = (*number - zero) * scale;
        }
    }

    /// Zero point and scale of a group.
    fn group(&self, row: usize, outputs: usize, inputs: usize) -> [f32; 2] {
        let zero = match &self.layout.zeros {
            Zeros::All(zero) => *zero,
            Zeros::Grid(grid) => grid.at(self.zeros, [outputs, inputs]),
            Zeros::ByInput(packed, plus) => packed.at(self.zeros, inputs, row) + plus,
            Zeros::ByOutput(packed) => packed.at(self.zeros, row, inputs),
        };
        [zero, self.layout.scales.at(self.scales, [outputs, inputs])]
    }

    fn read_codes(&self, row: usize, column: usize, out: &mut [f32]) {
        let first = row * self.layout.columns + column;
        let columns = column..column + out.len();
        match &self.layout.codes {
            Codes::Float8(float) => {
                let numbers = float.numbers();
                let codes = &self.codes[first..first + out.len()];
                out.iter_mut().zip(codes).for_each(|(number, &code)| *number = numbers[usize::from(code)]);
            }
            Codes::Int8 => {
                let codes = &self.codes[first..first + out.len()];
                out.iter_mut().zip(codes).for_each(|(number, &code)| *number = f32::from(code as i8));
            }
            Codes::Float4 => {
                for (number, at) in out.iter_mut().zip(first..) {
                    *number = FLOAT4[usize::from(self.codes[at / 2] >> (at % 2 * 4) & 15)];
                }
            }
            Codes::ByOutput(packed) => {
                for (number, column) in out.iter_mut().zip(columns) {
                    *number = packed.at(self.codes, row, column);
                }
            }
            Codes::ByInput(packed) => {
                for (number, column) in out.iter_mut().zip(columns) {
                    *number = packed.at(self.codes, column, row);
                }
            }
        }
    }
}
