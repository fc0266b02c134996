//! Products of rows with packed weights.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::cpu::{Kernel, LANES, Level, run};
use crate::disjoint::Disjoint;
use crate::matrix::{GROUP, Matrix, Panels};
use crate::parallel;

/// Panels that one unit of work reads are about this large: worth a turn, and few enough to share evenly.
const UNIT_BYTES: usize = 64 << 10;

/// Rows are multiplied in groups of about this size, which stay in the cache while the matrix passes by.
const GROUP_BYTES: usize = 1 << 20;

/// `y = x W` for several matrices that read the same rows.
///
/// Each number is the sum over the inputs in their order, whatever the number of rows: a row gives the same bits alone as among
/// others.
///
/// # Shapes
/// - `x`: `[rows, inputs]`
/// - output: for each matrix `[rows, outputs]`
///
/// # Panics
/// If the matrices have not the same number of inputs, or `x` is no whole number of rows.
pub fn products<const N: usize>(x: &[f32], matrices: [&Matrix; N]) -> [Vec<f32>; N] {
    let mut outputs = matrices.map(|matrix| vec![0.0; x.len() / matrix.shape()[0] * matrix.shape()[1]]);
    let Some(inputs) = matrices.first().map(|matrix| matrix.shape()[0]) else { return outputs };
    assert!(matrices.iter().all(|matrix| matrix.shape()[0] == inputs), "matrices of the same inputs");
    assert_eq!(x.len() % inputs, 0, "whole rows of {inputs} numbers");
    let targets = outputs.each_mut().map(|output| Disjoint::new(output));
    let units: Vec<(usize, Range<usize>)> = matrices
        .iter()
        .enumerate()
        .flat_map(|(index, matrix)| {
            let panels = matrix.shape()[1].div_ceil(LANES);
            let step = (UNIT_BYTES * panels / matrix.bytes().max(1)).max(1);
            (0..panels).step_by(step).map(move |first| (index, first..(first + step).min(panels)))
        })
        .collect();
    let most = registers();
    let group = (GROUP_BYTES / (4 * inputs)).next_multiple_of(most).max(most);
    for (index, x) in x.chunks(group * inputs).enumerate() {
        let blocks = Blocks::new(x, inputs, most);
        parallel(units.len(), |unit| {
            let (matrix, panels) = units[unit].clone();
            let (matrix, target) = (matrices[matrix], &targets[matrix]);
            run(Unit { blocks: &blocks, first_row: index * group, matrix, panels, target });
        });
    }
    outputs
}

/// Rows whose sums fit the registers.
fn registers() -> usize {
    struct Rows<'a>(&'a mut usize);
    impl Kernel for Rows<'_> {
        #[inline(always)]
        fn run<L: Level>(self) {
            *self.0 = L::ROWS;
        }
    }
    let mut rows = 0;
    run(Rows(&mut rows));
    rows
}

/// Rows in blocks that fit the registers, each block input by input: the inner loop reads it from beginning to end.
struct Blocks {
    inputs: usize,
    rows: usize,
    most: usize,
    numbers: Vec<f32>,
}

impl Blocks {
    fn new(x: &[f32], inputs: usize, most: usize) -> Self {
        let rows = x.len() / inputs;
        let mut numbers = x.to_vec();
        let mut blocks: Vec<_> =
            numbers.chunks_mut(most * inputs).zip(x.chunks(most * inputs)).map(Mutex::new).collect();
        let transpose = |to: &mut [f32], from: &[f32]| {
            let count = to.len() / inputs;
            for (input, to) in to.chunks_exact_mut(count).enumerate() {
                for (row, to) in to.iter_mut().enumerate() {
                    *to = from[row * inputs + input];
                }
            }
        };
        if rows > 1 {
            parallel(blocks.len(), |block| {
                let block = &mut *blocks[block].lock().unwrap_or_else(PoisonError::into_inner);
                transpose(block.0, block.1);
            });
        }
        blocks.clear();
        Self { inputs, rows, most, numbers }
    }
}

struct Unit<'a> {
    blocks: &'a Blocks,
    first_row: usize,
    matrix: &'a Matrix,
    panels: Range<usize>,
    target: &'a Disjoint<'a>,
}

impl Kernel for Unit<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Blocks { inputs, rows, most, ref numbers } = *self.blocks;
        for panel in self.panels.clone() {
            for first in (0..rows).step_by(most) {
                let count = most.min(rows - first);
                let x = &numbers[first * inputs..][..count * inputs];
                match count {
                    1 => self.block::<L, 1>(panel, first, x),
                    2 => self.block::<L, 2>(panel, first, x),
                    3 => self.block::<L, 3>(panel, first, x),
                    4 => self.block::<L, 4>(panel, first, x),
                    5 => self.block::<L, 5>(panel, first, x),
                    6 => self.block::<L, 6>(panel, first, x),
                    7 => self.block::<L, 7>(panel, first, x),
                    8 => self.block::<L, 8>(panel, first, x),
                    9 => self.block::<L, 9>(panel, first, x),
                    10 => self.block::<L, 10>(panel, first, x),
                    11 => self.block::<L, 11>(panel, first, x),
                    12 => self.block::<L, 12>(panel, first, x),
                    13 => self.block::<L, 13>(panel, first, x),
                    _ => self.block::<L, 14>(panel, first, x),
                }
            }
        }
    }
}

impl Unit<'_> {
    /// `R` rows with one panel.
    #[inline(always)]
    fn block<L: Level, const R: usize>(&self, panel: usize, first: usize, x: &[f32]) {
        // Known when this is compiled: code for more rows than a level has does not exist.
        assert!(R <= L::ROWS, "rows that fit the registers");
        let [inputs, outputs] = self.matrix.shape();
        let (x, _) = x.as_chunks::<R>();
        let span = panel * inputs..(panel + 1) * inputs;
        let sums = match &self.matrix.panels {
            Panels::F32(weights) => plain::<L, R, _>(x, &weights[span], |weights| L::load(weights)),
            Panels::F16(weights) => plain::<L, R, _>(x, &weights[span], |weights| L::halves(weights)),
            Panels::Int8 { numbers, scales } => {
                let groups = inputs.div_ceil(GROUP);
                grouped::<L, R>(x, &numbers[span], &scales[panel * groups..][..groups])
            }
        };
        let column = panel * LANES;
        let lanes = LANES.min(outputs - column);
        for (row, sums) in sums.iter().enumerate() {
            let at = (self.first_row + first + row) * outputs + column;
            #[expect(unsafe_code, reason = "columns of a matrix lie between those of other threads")]
            // SAFETY: each panel is in one unit, and has columns of its own.
            unsafe {
                self.target.write(at..at + lanes, &sums[..lanes]);
            }
        }
    }
}

#[inline(always)]
fn plain<L: Level, const R: usize, W>(
    x: &[[f32; R]],
    weights: &[W],
    widen: impl Fn(&W) -> L::Lanes,
) -> [[f32; LANES]; R] {
    let mut sums = [L::splat(0.0); R];
    for (x, weights) in x.iter().zip(weights) {
        let weights = widen(weights);
        for row in 0..R {
            sums[row] = L::fma(L::splat(x[row]), weights, sums[row]);
        }
    }
    sums.map(L::store)
}

#[inline(always)]
fn grouped<L: Level, const R: usize>(
    x: &[[f32; R]],
    weights: &[[i8; LANES]],
    scales: &[[f32; LANES]],
) -> [[f32; LANES]; R] {
    let mut sums = [L::splat(0.0); R];
    for ((x, weights), scales) in x.chunks(GROUP).zip(weights.chunks(GROUP)).zip(scales) {
        let scales = L::load(scales);
        for (x, weights) in x.iter().zip(weights) {
            let weights = L::bytes(weights, scales);
            for row in 0..R {
                sums[row] = L::fma(L::splat(x[row]), weights, sums[row]);
            }
        }
    }
    sums.map(L::store)
}
