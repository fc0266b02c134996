//! Between the layout of a stored tensor and that of our parameter.

use std::ops::Range;

use crate::families::weight_map::{OutputSlice, Rule, StoredNumbers, TensorPlace};
use crate::transformer::stored_matrix::is_table;

/// Stored rows that are in memory at once: a run of as many numbers of ours is written together, so that both sides stay in
/// the cache while a matrix is transposed.
const ROWS: usize = 32;

/// One of our parameters, and where its numbers are in the stored tensor.
///
/// A stored tensor is rows of numbers that are neighbours. A row of a matrix `[output, input]` is one of our outputs, a row of
/// `[input, output]` one of our inputs; a vector is one row.
pub(super) struct Layout<'a> {
    rule: &'a Rule,
    /// The place of the matrix in a stack of experts.
    expert: usize,
    /// Ours: `[inputs, outputs]` or `[width]`.
    shape: &'a [usize],
}

impl<'a> Layout<'a> {
    pub(super) fn new(place: &'a TensorPlace, shape: &'a [usize]) -> Self {
        Self { rule: &place.rule, expert: place.expert, shape }
    }

    /// Our rows that are stored as rows: outputs, inputs, or the one of a vector.
    fn rows(&self) -> usize {
        match *self.shape {
            [_, outputs] if self.rule.transposed => outputs,
            [inputs, _] => inputs,
            _ => 1,
        }
    }

    /// The length of a stored row.
    pub(super) fn columns(&self) -> usize {
        match *self.shape {
            [inputs, _] if self.rule.transposed => inputs,
            [_, outputs] => self.rule.slice.total(outputs),
            _ => self.rule.slice.total(self.shape.iter().product()),
        }
    }

    /// Whether a stored row is one of our outputs, unchanged. Those of the table of an embedding are the outputs of the head.
    pub(super) fn rows_are_outputs(&self, path: &str) -> bool {
        let table = is_table(path) && self.rule.slice == OutputSlice::All;
        let is_ours = self.rule.numbers == StoredNumbers::Ours && self.rule.inputs == OutputSlice::All;
        self.shape.len() == 2 && is_ours && (self.rule.transposed || table)
    }

    /// Groups of rows of ours that are loaded or saved together.
    pub(super) fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows();
        (0..rows).step_by(ROWS).map(move |first| first..(first + ROWS).min(rows))
    }

    /// The stored row that is our row.
    pub(super) fn stored_row(&self, row: usize) -> usize {
        match *self.shape {
            [_, outputs] if self.rule.transposed => {
                self.expert * self.rule.slice.total(outputs) + self.rule.slice.stored(row)
            }
            [inputs, _] => self.expert * inputs + row,
            _ => self.expert + row,
        }
    }

    /// From a band of stored rows, one after the other, to runs of our numbers, each with the index of its first.
    pub(super) fn load(&self, band: &Range<usize>, stored: &[f32], put: &mut dyn FnMut(usize, &[f32])) {
        let (columns, numbers) = (self.columns(), self.rule.numbers);
        if let [inputs, outputs] = *self.shape
            && self.rule.transposed
        {
            let mut run = [0.0; ROWS];
            let run = &mut run[..band.len()];
            for input in 0..inputs {
                let column = self.rule.inputs.stored(input);
                for (row, number) in run.iter_mut().enumerate() {
                    *number = numbers.load(stored[row * columns + column]);
                }
                put(input * outputs + band.start, run);
            }
            return;
        }
        let width = self.shape.last().copied().unwrap_or(1);
        let mut run = vec![0.0; width];
        for (row, stored) in band.clone().zip(stored.chunks_exact(columns)) {
            for (output, number) in run.iter_mut().enumerate() {
                *number = numbers.load(stored[self.rule.slice.stored(output)]);
            }
            put(row * width, &run);
        }
    }

    /// Writes a band of our numbers into stored rows, one after the other; numbers of other parameters stay.
    pub(super) fn save(&self, band: &Range<usize>, ours: &[f32], stored: &mut [f32]) {
        let (columns, numbers) = (self.columns(), self.rule.numbers);
        if let [inputs, outputs] = *self.shape
            && self.rule.transposed
        {
            for input in 0..inputs {
                let run = &ours[input * outputs..][band.clone()];
                let column = self.rule.inputs.stored(input);
                for (row, number) in run.iter().enumerate() {
                    stored[row * columns + column] = numbers.store(*number);
                }
            }
            return;
        }
        let width = self.shape.last().copied().unwrap_or(1);
        for (row, stored) in band.clone().zip(stored.chunks_exact_mut(columns)) {
            for (output, number) in ours[row * width..][..width].iter().enumerate() {
                stored[self.rule.slice.stored(output)] = numbers.store(*number);
            }
        }
    }
}
