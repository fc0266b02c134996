//! Products of rows with packed weights.
//!
//! `gemm` packs the weights again with each call, which takes longer than the product with a single row, and multiplies no int8 or
//! f16 weights with f32 rows.

use std::borrow::Cow;
use std::ops::Range;

use crate::cpu::{Kernel, LANES, Level, prefetch, run, run_integers};
use crate::disjoint::DisjointSlice;
use crate::integer::{IntegerRows, ONE_ROW_PANELS, PanelsUnit, integer_rows_in_registers};
use crate::matrix::{Matrix, Panels};
use crate::pool::announce;
use crate::{parallel, threads};

/// Panels that one unit of work reads are about this large: worth a turn, and few enough to share evenly.
const UNIT_BYTES: usize = 64 << 10;

/// The same where each panel is read once only. A thread that begins a unit waits for memory, and at its end has asked for weights
/// that the next unit's thread reads.
const LONG_UNIT_BYTES: usize = 1 << 20;

/// What threads take in a turn of what is left.
const SHARE: f64 = 1.0 / 3.0;

/// The same where each panel is read once only.
const LONG_SHARE: f64 = 0.8;

/// Panels that a single row reads side by side: the sums of a single panel would wait for each other, and for the memory.
pub(crate) const PANELS_AT_ONCE: usize = 4;

/// Rows are multiplied in groups of about this size, which stay in the cache while the matrix passes by.
const ROW_GROUP_BYTES: usize = 1 << 20;

/// Numbers that are brought into the order of a block at once.
const TRANSPOSED_AT_ONCE: usize = 256;

/// `y = x W` for several matrices that read the same rows.
///
/// Each number is the sum over the inputs in their order, whatever the number of rows: a row gives the same bits by itself as among
/// others.
///
/// # Shapes
/// - `x`: `[rows, inputs]`
/// - output: for each matrix `[rows, outputs]`
///
/// # Panics
/// If the matrices have not the same number of inputs, or `x` is no whole number of rows.
pub fn products<const N: usize>(x: &[f32], matrices: [&Matrix; N]) -> [Vec<f32>; N] {
    let mut outputs = products_of(x, &matrices).into_iter();
    matrices.map(|_| outputs.next().expect("an output for each matrix"))
}

/// Says which matrices the next product of one row will be with. Threads that wait for it then have the weights brought nearer with
/// which they begin.
pub fn expect(matrices: &[&Matrix]) {
    // It was measured for blocks only. The shortest steps, of tiny models in f32, do not pay for it.
    if !matrices.iter().all(|matrix| matches!(matrix.panels, Panels::Blocks(_))) {
        return;
    }
    announce(|| {
        let units = Units::new(matrices, LONG_UNIT_BYTES, LONG_SHARE);
        // The calling thread takes the first unit, most of the time.
        let places = |(matrix, panels): &(usize, Range<usize>)| match &matrices[*matrix].panels {
            Panels::Blocks(weights) => weights.places(panels.clone(), ONE_ROW_PANELS),
            Panels::F32(_) | Panels::F16(_) => Vec::new(),
        };
        let of_worker = |unit: usize| units.pieces(unit).iter().map(places).collect();
        (1..units.len().min(threads())).map(of_worker).collect()
    });
}

/// [`products`] of any number of matrices.
///
/// # Panics
/// As [`products`].
// Not generic: the kernels are compiled once, with this crate.
pub fn products_of(x: &[f32], matrices: &[&Matrix]) -> Vec<Vec<f32>> {
    let Some(inputs) = matrices.first().map(|matrix| matrix.shape()[0]) else {
        return Vec::new();
    };
    assert!(matrices.iter().all(|matrix| matrix.shape()[0] == inputs), "matrices of the same inputs");
    assert_eq!(x.len() % inputs, 0, "whole rows of {inputs} numbers");
    let lens = matrices.iter().map(|matrix| x.len() / inputs * matrix.shape()[1]);
    let mut outputs: Vec<Vec<f32>> = lens.map(|len| vec![0.0; len]).collect();
    let targets: Vec<_> = outputs.iter_mut().map(|output| DisjointSlice::new(output)).collect();
    let is_blocks = |matrix: &&Matrix| matches!(matrix.panels, Panels::Blocks(_));
    let [any_blocks, any_floats] = [matrices.iter().any(is_blocks), !matrices.iter().all(is_blocks)];
    let [most, most_integers] = [rows_in_registers(), integer_rows_in_registers()];
    let is_read_once = x.len() / inputs <= most.min(most_integers);
    let units = match is_read_once {
        true => Units::new(matrices, LONG_UNIT_BYTES, LONG_SHARE),
        false => Units::new(matrices, UNIT_BYTES, SHARE),
    };
    // Whole blocks of both kinds; the sizes of integers are powers of two.
    let whole = most * (most_integers >> most.trailing_zeros().min(most_integers.trailing_zeros()));
    let group = (ROW_GROUP_BYTES / (4 * inputs)).next_multiple_of(whole).max(whole);
    for (index, x) in x.chunks(group * inputs).enumerate() {
        let first_row = index * group;
        let blocks = any_floats.then(|| RowBlocks::new(x, inputs, most));
        let formats = matrices.iter().filter_map(|matrix| match &matrix.panels {
            Panels::Blocks(weights) => Some(weights.format()),
            Panels::F32(_) | Panels::F16(_) => None,
        });
        let rows = any_blocks.then(|| IntegerRows::new(x, inputs, most_integers, formats));
        let piece = |(matrix, panels): (usize, Range<usize>)| {
            let (matrix, target) = (matrices[matrix], &targets[matrix]);
            match (&matrix.panels, &blocks, &rows) {
                (Panels::Blocks(weights), _, Some(rows)) => {
                    let outputs = matrix.shape()[1];
                    run_integers(PanelsUnit { rows, first_row, matrix: weights, outputs, panels, target });
                }
                (_, Some(blocks), _) => run(PanelUnit { blocks, first_row, matrix, panels, target }),
                _ => unreachable!("rows are laid out for every kind of matrix"),
            }
        };
        parallel(units.len(), |unit| units.pieces(unit).iter().cloned().for_each(piece));
    }
    outputs
}

/// Units of work: parts of the list of all panels of some matrices.
struct Units {
    /// A matrix, and panels of it.
    pieces: Vec<(usize, Range<usize>)>,
    /// The pieces of each unit.
    of_unit: Vec<Range<usize>>,
}

impl Units {
    /// Units of at most so many bytes. Those that threads take in the same turn are alike, and have a `share` of what is left: no
    /// thread waits long for the last one.
    fn new(matrices: &[&Matrix], most: usize, share: f64) -> Self {
        let room = 8 * threads() + matrices.len();
        let mut units = Self { pieces: Vec::with_capacity(room), of_unit: Vec::with_capacity(room) };
        let mut rest: usize = matrices.iter().map(|matrix| matrix.bytes()).sum();
        let (mut unit_bytes, mut room, mut begun) = (0, 0, 0);
        for (index, matrix) in matrices.iter().enumerate() {
            let panels = matrix.shape()[1].div_ceil(matrix.lanes());
            let (of_panel, at_once) = (matrix.bytes() / panels.max(1), panels_at_once(matrix));
            let mut first = 0;
            while first < panels {
                if begun == units.pieces.len() {
                    if units.of_unit.len().is_multiple_of(threads()) {
                        unit_bytes = ((share * rest as f64) as usize / threads()).min(most);
                    }
                    room = unit_bytes;
                }
                let step = (room / of_panel.max(1) / at_once * at_once).max(at_once);
                let end = (first + step).min(panels);
                let bytes = (end - first) * of_panel;
                units.pieces.push((index, first..end));
                (rest, room) = (rest.saturating_sub(bytes), room.saturating_sub(bytes));
                first = end;
                if room < at_once * of_panel || first < panels {
                    units.of_unit.push(begun..units.pieces.len());
                    begun = units.pieces.len();
                }
            }
        }
        if begun < units.pieces.len() {
            units.of_unit.push(begun..units.pieces.len());
        }
        units
    }

    fn len(&self) -> usize {
        self.of_unit.len()
    }

    /// The pieces of a unit.
    fn pieces(&self, unit: usize) -> &[(usize, Range<usize>)] {
        &self.pieces[self.of_unit[unit].clone()]
    }
}

/// Fewest panels of a unit: a single row reads so many side by side, or twice as many.
fn panels_at_once(matrix: &Matrix) -> usize {
    match matrix.panels {
        Panels::F32(_) | Panels::F16(_) => PANELS_AT_ONCE / 2,
        Panels::Blocks(_) => ONE_ROW_PANELS,
    }
}

/// Panels of a unit: those that are read side by side, and several of these if they are small. Of a narrow matrix every
/// thread gets three units, since one that has two where another has one makes it wait.
pub(crate) fn panels_of_unit(panels: usize, bytes: usize) -> usize {
    let most = (UNIT_BYTES * panels / bytes.max(1)).max(PANELS_AT_ONCE).min(panels / (3 * threads()));
    match most / PANELS_AT_ONCE {
        0 => PANELS_AT_ONCE / 2,
        several => several * PANELS_AT_ONCE,
    }
}

/// Rows whose sums fit the registers.
pub(crate) fn rows_in_registers() -> usize {
    struct CountRows<'a>(&'a mut usize);
    impl Kernel for CountRows<'_> {
        #[inline(always)]
        fn run<L: Level>(self) {
            *self.0 = L::ROWS;
        }
    }
    let mut rows = 0;
    run(CountRows(&mut rows));
    rows
}

/// Rows in blocks that fit the registers, each block input by input: the inner loop reads it from beginning to end.
struct RowBlocks<'a> {
    inputs: usize,
    rows: usize,
    most: usize,
    numbers: Cow<'a, [f32]>,
}

impl<'a> RowBlocks<'a> {
    fn new(x: &'a [f32], inputs: usize, most: usize) -> Self {
        let rows = x.len() / inputs;
        if rows == 1 {
            return Self { inputs, rows, most, numbers: Cow::Borrowed(x) };
        }
        // As few blocks as possible, and alike: sums of only a few rows would wait for each other.
        let most = rows.div_ceil(rows.div_ceil(most));
        let mut numbers = vec![0.0; x.len()];
        let room = DisjointSlice::new(&mut numbers);
        parallel(rows.div_ceil(most), |block| {
            let start = block * most * inputs;
            let from = &x[start..x.len().min(start + most * inputs)];
            let count = from.len() / inputs;
            let mut part = [0.0; TRANSPOSED_AT_ONCE];
            for first in (0..inputs).step_by(TRANSPOSED_AT_ONCE / count) {
                let last = inputs.min(first + TRANSPOSED_AT_ONCE / count);
                let part = &mut part[..(last - first) * count];
                for (input, to) in (first..last).zip(part.chunks_exact_mut(count)) {
                    for (row, to) in to.iter_mut().enumerate() {
                        *to = from[row * inputs + input];
                    }
                }
                #[expect(
                    unsafe_code,
                    reason = "the borrow checker knows contiguous parts of a whole slice only"
                )]
                // SAFETY: each block is written by one thread.
                unsafe {
                    room.write(start + first * count, part);
                }
            }
        });
        Self { inputs, rows, most, numbers: Cow::Owned(numbers) }
    }
}

struct PanelUnit<'a> {
    blocks: &'a RowBlocks<'a>,
    first_row: usize,
    matrix: &'a Matrix,
    panels: Range<usize>,
    target: &'a DisjointSlice<'a>,
}

impl Kernel for PanelUnit<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let RowBlocks { inputs, rows, most, ref numbers } = *self.blocks;
        let mut panels = self.panels.clone();
        if rows == 1 {
            while panels.len() >= PANELS_AT_ONCE {
                self.block::<L, 1, PANELS_AT_ONCE>(panels.start, 0, numbers);
                panels.start += PANELS_AT_ONCE;
            }
            if panels.len() >= PANELS_AT_ONCE / 2 {
                self.block::<L, 1, { PANELS_AT_ONCE / 2 }>(panels.start, 0, numbers);
                panels.start += PANELS_AT_ONCE / 2;
            }
        }
        // The panels of a unit lie side by side: so do the numbers that are written for a row.
        for first in (0..rows).step_by(most) {
            for panel in panels.clone() {
                let count = most.min(rows - first);
                let x = &numbers[first * inputs..][..count * inputs];
                match count {
                    1 => self.block::<L, 1, 1>(panel, first, x),
                    2 => self.block::<L, 2, 1>(panel, first, x),
                    3 => self.block::<L, 3, 1>(panel, first, x),
                    4 => self.block::<L, 4, 1>(panel, first, x),
                    5 => self.block::<L, 5, 1>(panel, first, x),
                    6 => self.block::<L, 6, 1>(panel, first, x),
                    7 => self.block::<L, 7, 1>(panel, first, x),
                    8 => self.block::<L, 8, 1>(panel, first, x),
                    9 => self.block::<L, 9, 1>(panel, first, x),
                    10 => self.block::<L, 10, 1>(panel, first, x),
                    11 => self.block::<L, 11, 1>(panel, first, x),
                    12 => self.block::<L, 12, 1>(panel, first, x),
                    13 => self.block::<L, 13, 1>(panel, first, x),
                    _ => self.block::<L, 14, 1>(panel, first, x),
                }
            }
        }
    }
}

impl PanelUnit<'_> {
    /// `R` rows with `P` panels.
    #[inline(always)]
    fn block<L: Level, const R: usize, const P: usize>(&self, panel: usize, first: usize, x: &[f32]) {
        // Known when this is compiled: code for more rows than a level has does not exist.
        assert!(R <= L::ROWS, "rows that fit the registers");
        let [inputs, outputs] = self.matrix.shape();
        let (x, _) = x.as_chunks::<R>();
        let sums = match &self.matrix.panels {
            Panels::F32(weights) => {
                multiply_panels::<L, R, P, _>(x, parts(weights, panel, inputs), |weights| L::load(weights))
            }
            Panels::F16(weights) => {
                multiply_panels::<L, R, P, _>(x, parts(weights, panel, inputs), |weights| {
                    L::widen_f16(weights)
                })
            }
            Panels::Blocks(_) => unreachable!("blocks have a kernel of their own"),
        };
        // All of them first: a call in between would have the sums leave their registers, and in the loop already.
        let mut numbers = [[[0.0; LANES]; R]; P];
        for p in 0..P {
            for row in 0..R {
                numbers[p][row] = L::store(sums[p][row]);
            }
        }
        for p in 0..P {
            let column = (panel + p) * LANES;
            let lanes = LANES.min(outputs - column);
            for row in 0..R {
                let at = (self.first_row + first + row) * outputs + column;
                let numbers = &numbers[p][row];
                #[expect(unsafe_code, reason = "columns of a matrix lie between those of other threads")]
                // SAFETY: each panel is in one unit, and has columns of its own.
                unsafe {
                    // A length that is known when this is compiled needs no call.
                    match lanes {
                        LANES => self.target.write(at, numbers),
                        _ => self.target.write(at, &numbers[..lanes]),
                    }
                }
            }
        }
    }
}

/// The part of `P` panels from `panel` on in a list with `len` entries a panel.
#[inline(always)]
fn parts<const P: usize, W>(all: &[W], panel: usize, len: usize) -> [&[W]; P] {
    let mut parts = [&all[..0]; P];
    for p in 0..P {
        parts[p] = &all[(panel + p) * len..][..len];
    }
    parts
}

#[inline(always)]
pub(crate) fn multiply_panels<L: Level, const R: usize, const P: usize, W>(
    x: &[[f32; R]],
    panels: [&[W]; P],
    widen: impl Fn(&W) -> L::Lanes,
) -> [[L::Lanes; R]; P] {
    let mut sums = [[L::splat(0.0); R]; P];
    for (input, x) in x.iter().enumerate() {
        for p in 0..P {
            prefetch(&panels[p][input]);
            let weights = widen(&panels[p][input]);
            for row in 0..R {
                sums[p][row] = L::fma(L::splat(x[row]), weights, sums[p][row]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackedFormat;

    #[test]
    fn units_have_every_panel_once_and_in_order() {
        let matrix = |outputs| Matrix::new(PackedFormat::INT8, [32, outputs], |_, _| 1.0);
        for outputs in [1, 16, 100, 5000] {
            let matrices = [matrix(outputs), matrix(16), matrix(777)];
            let matrices: Vec<_> = matrices.iter().collect();
            for most in [100, 64 << 10, 1 << 20] {
                let units = Units::new(&matrices, most, LONG_SHARE);
                let panels = |matrix: &Matrix| matrix.shape()[1].div_ceil(matrix.lanes());
                let all = matrices
                    .iter()
                    .enumerate()
                    .flat_map(|(index, matrix)| (0..panels(matrix)).map(move |panel| (index, panel)));
                let pieces = (0..units.len()).flat_map(|unit| units.pieces(unit));
                let taken =
                    pieces.flat_map(|(index, panels)| panels.clone().map(move |panel| (*index, panel)));
                assert!(taken.eq(all));
            }
        }
    }
}
