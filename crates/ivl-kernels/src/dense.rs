//! Products of matrices as they lie in memory, for training: weights change with each step, and gradients are products with
//! transposed matrices.
//!
//! `gemm`, which Burn's CPU backend calls, computes the same in about 1.5 times the time on the shapes of a training step (24M
//! value, 32,000 ids, two cores with AVX-512), and orders its sums by the blocks of the call. Here a row has the same bits
//! whatever the number of rows and threads.

use std::ops::Range;

use crate::cpu::{Kernel, LANES, Level, run};
use crate::disjoint::DisjointSlice;
use crate::product::{multiply_panels, panels_of_unit, rows_in_registers};
use crate::{parallel, threads};

/// Terms of a sum that are added at once: a panel of as many rows stays in the cache next to the processor while rows of the
/// other matrix pass by, and a sum of many terms loses less.
const SLAB: usize = 512;

/// Packed rows that threads share are about this large, to stay in the cache while panels pass by.
const SHARED_BYTES: usize = 2 << 20;

/// Blocks of rows that one thread packs for itself.
const OWN_BLOCKS: usize = 8;

/// Numbers in a line of the cache.
const LINE: usize = 16;

/// Rows of a block where the registers hold [few or many](Level::ROWS).
const FEW: usize = 3;
const MANY: usize = 14;

/// A matrix in rows or, transposed, in columns.
#[derive(Debug, Clone, Copy)]
pub struct DenseMatrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> DenseMatrix<'a> {
    /// The matrix whose rows are `numbers`.
    ///
    /// # Panics
    /// If there are not as many numbers as the shape says.
    pub fn new(numbers: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(numbers.len(), rows * columns, "numbers of a matrix {rows} by {columns}");
        Self { numbers, rows, columns, transposed: false }
    }

    /// The same numbers, with columns for rows.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// `to[column][row]` for some rows, at most `W`, and columns.
    #[inline(always)]
    fn copy_columns<const W: usize>(&self, rows: Range<usize>, columns: Range<usize>, to: &mut [f32]) {
        let (to, _) = to.as_chunks_mut::<W>();
        if self.transposed {
            for (column, to) in columns.zip(to) {
                let from = &self.numbers[column * self.rows + rows.start..];
                match from.first_chunk::<W>() {
                    Some(whole) if rows.len() == W => *to = *whole,
                    _ => to[..rows.len()].copy_from_slice(&from[..rows.len()]),
                }
            }
            return;
        }
        // Rows may lie a power of two apart, where a cache keeps a few lines only: each is read at once.
        for (first, to) in columns.clone().step_by(LINE).zip(to.chunks_mut(LINE)) {
            for (lane, row) in rows.clone().enumerate() {
                let from = &self.numbers[row * self.columns + first..][..to.len().min(columns.end - first)];
                for (from, to) in from.iter().zip(&mut *to) {
                    to[lane] = *from;
                }
            }
        }
    }
}

/// `A B`.
///
/// Sums of at most 512 terms are formed in the order of their terms, and added up in that order, whatever the number of threads.
///
/// # Shapes
/// - `a`: `[m, k]`
/// - `b`: `[k, n]`
/// - output: `[m, n]`
///
/// # Panics
/// If `a` has not as many columns as `b` has rows.
pub fn multiply(a: DenseMatrix<'_>, b: DenseMatrix<'_>) -> Vec<f32> {
    let ([m, k], [terms, n]) = (a.shape(), b.shape());
    assert_eq!(k, terms, "as many columns as rows");
    if k == 0 || m * n == 0 {
        return vec![0.0; m * n];
    }
    let mut output = vec![0.0; m * n];
    let target = DisjointSlice::new(&mut output);
    let slab = k.div_ceil(k.div_ceil(SLAB));
    let rows = if rows_in_registers() < MANY { FEW } else { MANY };
    for start in (0..k).step_by(slab) {
        let slab = start..k.min(start + slab);
        let product = SlabProduct { a, b, rows, slab, target: &target };
        // The larger side is shared out, and what each thread reads of it is packed by itself.
        if n >= m { product.by_columns() } else { product.for_row_groups() }
    }
    output
}

/// The contribution of a slab of terms to a product.
struct SlabProduct<'a> {
    a: DenseMatrix<'a>,
    b: DenseMatrix<'a>,
    /// Rows of a block.
    rows: usize,
    slab: Range<usize>,
    target: &'a DisjointSlice<'a>,
}

impl SlabProduct<'_> {
    fn by_columns(&self) {
        let ([m, _], [_, n]) = (self.a.shape(), self.b.shape());
        let (len, panels) = (self.slab.len(), n.div_ceil(LANES));
        let step = panels_of_unit(panels, panels * len * LANES * 4);
        let most = (SHARED_BYTES / (4 * len)).next_multiple_of(self.rows);
        for first in (0..m).step_by(most) {
            let group = first..m.min(first + most);
            let blocks = packed(group.len().div_ceil(self.rows), self.rows * len, |block, to| {
                self.pack_block(&group, block, to);
            });
            parallel(panels.div_ceil(step), |unit| {
                let unit = unit * step..panels.min((unit + 1) * step);
                let mut own = vec![[0.0; LANES]; unit.len() * len];
                for (panel, to) in unit.clone().zip(own.chunks_exact_mut(len)) {
                    self.pack_panel(panel, to);
                }
                run(SlabTiles {
                    product: self,
                    rows: group.clone(),
                    blocks: &blocks,
                    panels: unit,
                    weights: &own,
                });
            });
        }
    }

    fn for_row_groups(&self) {
        let ([m, _], [_, n]) = (self.a.shape(), self.b.shape());
        let (len, panels) = (self.slab.len(), n.div_ceil(LANES));
        let shared = packed(panels, LANES * len, |panel, to| {
            let (to, _) = to.as_chunks_mut::<LANES>();
            self.pack_panel(panel, to);
        });
        let (weights, _) = shared.as_chunks::<LANES>();
        let blocks = m.div_ceil(self.rows);
        let step = OWN_BLOCKS.min(blocks.div_ceil(3 * threads()));
        parallel(blocks.div_ceil(step), |unit| {
            let rows = unit * step * self.rows..m.min((unit + 1) * step * self.rows);
            let mut own = vec![0.0; rows.len().next_multiple_of(self.rows) * len];
            for (block, to) in own.chunks_exact_mut(self.rows * len).enumerate() {
                self.pack_block(&rows, block, to);
            }
            run(SlabTiles { product: self, rows, blocks: &own, panels: 0..panels, weights });
        });
    }

    /// A block of some rows, term by term.
    fn pack_block(&self, rows: &Range<usize>, block: usize, to: &mut [f32]) {
        let first = rows.start + block * self.rows;
        let rows = first..rows.end.min(first + self.rows);
        match self.rows {
            FEW => self.a.copy_columns::<FEW>(rows, self.slab.clone(), to),
            _ => self.a.copy_columns::<MANY>(rows, self.slab.clone(), to),
        }
    }

    /// A panel of columns, term by term.
    fn pack_panel(&self, panel: usize, to: &mut [[f32; LANES]]) {
        let columns = panel * LANES..self.b.columns.min((panel + 1) * LANES);
        self.b.transposed().copy_columns::<LANES>(columns, self.slab.clone(), to.as_flattened_mut());
    }
}

/// `count` parts of `len` numbers, each made by one thread.
fn packed(count: usize, len: usize, pack: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut numbers = vec![0.0; count * len];
    let room = DisjointSlice::new(&mut numbers);
    parallel(count, |part| {
        let mut own = vec![0.0; len];
        pack(part, &mut own);
        #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts of a whole slice only")]
        // SAFETY: each part is written by one thread.
        unsafe {
            room.write(part * len, &own);
        }
    });
    numbers
}

/// Packed rows with packed panels.
struct SlabTiles<'a> {
    product: &'a SlabProduct<'a>,
    rows: Range<usize>,
    blocks: &'a [f32],
    panels: Range<usize>,
    weights: &'a [[f32; LANES]],
}

impl Kernel for SlabTiles<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (len, rows) = (self.product.slab.len(), self.product.rows);
        // The panels of a unit lie side by side: so do the numbers that are written for a row.
        for (block, x) in self.blocks.chunks_exact(rows * len).enumerate() {
            let first = self.rows.start + block * rows;
            let count = rows.min(self.rows.end - first);
            for (panel, weights) in self.panels.clone().zip(self.weights.chunks_exact(len)) {
                match rows {
                    FEW => self.tile::<L, FEW>(first, count, x, panel, weights),
                    _ => self.tile::<L, MANY>(first, count, x, panel, weights),
                }
            }
        }
    }
}

impl SlabTiles<'_> {
    #[inline(always)]
    fn tile<L: Level, const R: usize>(
        &self,
        first: usize,
        count: usize,
        x: &[f32],
        panel: usize,
        weights: &[[f32; LANES]],
    ) {
        // Known when this is compiled: code for more rows than a level has does not exist.
        assert!(R <= L::ROWS, "rows that fit the registers");
        let SlabProduct { b, slab, target, .. } = self.product;
        let column = panel * LANES;
        let lanes = LANES.min(b.columns - column);
        let (x, _) = x.as_chunks::<R>();
        let [sums] = multiply_panels::<L, R, 1, _>(x, [weights], |weights| L::load(weights));
        let mut numbers = [[0.0; LANES]; R];
        for row in 0..R {
            numbers[row] = L::store(sums[row]);
        }
        for row in 0..count {
            let at = (first + row) * b.columns + column;
            #[expect(unsafe_code, reason = "columns of a matrix lie between those of other threads")]
            // SAFETY: no other thread has this tile.
            unsafe {
                if slab.start > 0 {
                    let before = target.read(at, lanes);
                    for lane in 0..lanes {
                        numbers[row][lane] += before[lane];
                    }
                }
                // A length that is known when this is compiled needs no call.
                match lanes {
                    LANES => target.write(at, &numbers[row]),
                    _ => target.write(at, &numbers[row][..lanes]),
                }
            }
        }
    }
}
