//! The product of a block of rows with panels.

use std::ops::Range;

use super::coding::Coding;
use super::group::{STEPS, SUPER};
use super::layout::{LayoutTask, with_layout};
use super::panels::BlockPanels;
use super::rows::{IntegerRows, RowBlock, offset};
use super::scaling::{ScaleBytes, Scaling, of_super};
use crate::cpu::{
    IntegerKernel, IntegerLevel, OUTPUTS, TILE_ROWS, prefetch_ahead, prefetch_far, run_integers,
};
use crate::disjoint::DisjointSlice;

/// Panels that a single row reads at a time. They lie as far from each other as a unit allows: the processor guesses what a thread
/// reads next better if it reads in three distant places than in one, or in two that lie side by side.
pub(crate) const ONE_ROW_PANELS: usize = 3;

/// How far ahead a row that reads so many asks for codes, in bytes. It asks for scales that are [`SUPER`] groups ahead.
const CODES_AHEAD: usize = 2048;

/// Rows that are multiplied at once: whose sums fit the registers, or a tile.
pub(crate) fn integer_rows_in_registers() -> usize {
    struct CountRows<'a>(&'a mut usize);
    impl IntegerKernel for CountRows<'_> {
        #[inline(always)]
        fn run<L: IntegerLevel>(self) {
            *self.0 = if L::has_tiles() { TILE_ROWS } else { L::ROWS };
        }
    }
    let mut rows = 0;
    run_integers(CountRows(&mut rows));
    rows
}

/// All rows with some panels of a matrix.
pub(crate) struct PanelsUnit<'a> {
    pub(crate) rows: &'a IntegerRows,
    pub(crate) first_row: usize,
    pub(crate) matrix: &'a BlockPanels,
    pub(crate) outputs: usize,
    pub(crate) panels: Range<usize>,
    pub(crate) target: &'a DisjointSlice<'a>,
}

impl IntegerKernel for PanelsUnit<'_> {
    #[inline(always)]
    fn run<L: IntegerLevel>(self) {
        with_layout(self.matrix.format, UnitAtLevel::<L> { unit: self, level: std::marker::PhantomData });
    }
}

struct UnitAtLevel<'a, L> {
    unit: PanelsUnit<'a>,
    level: std::marker::PhantomData<L>,
}

impl<L: IntegerLevel> LayoutTask for UnitAtLevel<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<C: Coding, S: Scaling>(self) {
        let unit = &self.unit;
        if unit.rows.of_block == TILE_ROWS {
            return unit.rows_by_tiles::<L, C, S>();
        }
        for (index, block) in unit.rows.blocks.iter().enumerate() {
            match unit.rows.of_block {
                // Scales of bytes take more instructions: with them it was slower.
                1 if !S::BY_GROUP => unit.rows_and_panels::<L, C, S, 1, 1>(index, block),
                1 => unit.rows_and_panels::<L, C, S, 1, ONE_ROW_PANELS>(index, block),
                4 => unit.rows_and_panels::<L, C, S, 4, 1>(index, block),
                _ => unit.rows_and_panels::<L, C, S, 8, 1>(index, block),
            }
        }
    }
}

impl PanelsUnit<'_> {
    /// `R` rows with all panels, `P` at a time.
    #[inline(always)]
    fn rows_and_panels<L: IntegerLevel, C: Coding, S: Scaling, const R: usize, const P: usize>(
        &self,
        index: usize,
        block: &RowBlock,
    ) {
        // Known when this is compiled: code for more rows than a level has does not exist.
        assert!(R <= L::ROWS, "rows that fit the registers");
        let first = index * R;
        let count = R.min(self.rows.rows - first);
        let mut panels = self.panels.clone();
        if P > 1 {
            let apart = panels.len() / P;
            for start in panels.start..panels.start + apart {
                let mut own = [start; P];
                for p in 0..P {
                    own[p] += p * apart;
                }
                let sums = multiply::<L, C, S, R, P>(block, self.matrix, own);
                self.write::<R, P>(own, first, count, &sums);
            }
            panels.start += P * apart;
        }
        for panel in panels {
            let sums = multiply::<L, C, S, R, 1>(block, self.matrix, [panel]);
            self.write::<R, 1>([panel], first, count, &sums);
        }
    }

    #[inline(always)]
    pub(super) fn write<const R: usize, const P: usize>(
        &self,
        panels: [usize; P],
        first: usize,
        rows: usize,
        sums: &[[[f32; OUTPUTS]; R]; P],
    ) {
        for p in 0..P {
            let column = panels[p] * OUTPUTS;
            let lanes = OUTPUTS.min(self.outputs - column);
            for row in 0..rows {
                let at = (self.first_row + first + row) * self.outputs + column;
                #[expect(unsafe_code, reason = "columns of a matrix lie between those of other threads")]
                // SAFETY: each panel is in one unit, and has columns of its own.
                unsafe {
                    self.target.write(at, &sums[p][row][..lanes]);
                }
            }
        }
    }
}

/// The sums of `R` rows with `P` panels.
#[inline(always)]
fn multiply<L: IntegerLevel, C: Coding, S: Scaling, const R: usize, const P: usize>(
    x: &RowBlock,
    matrix: &BlockPanels,
    panels: [usize; P],
) -> [[[f32; OUTPUTS]; R]; P] {
    let corrections = x.corrections_for::<L, C, S>();
    let starts = corrections.map_or(&[][..], |corrections| corrections.starts.as_chunks::<R>().0);
    let min_factors = corrections.map_or(&[][..], |corrections| corrections.min_factors.as_chunks::<R>().0);
    let mut codes = [&matrix.codes::<C>(0)[..0]; P];
    let mut scales = [&matrix.scales::<S>(0)[..0]; P];
    for p in 0..P {
        codes[p] = matrix.codes::<C>(panels[p]);
        scales[p] = matrix.scales::<S>(panels[p]);
    }
    let (x_codes, x_scales) = (x.codes().as_chunks::<R>().0, x.scales.as_chunks::<R>().0);
    let mut sums = [[L::splat(0.0); R]; P];
    for group in 0..x_scales.len() {
        let x_scale = &x_scales[group];
        let x_codes = &x_codes[group * STEPS..][..STEPS];
        for p in 0..P {
            let codes = &codes[p][group * C::PIECES..][..C::PIECES];
            if P > 1 {
                for piece in 0..C::PIECES {
                    prefetch_ahead(&codes[piece], CODES_AHEAD);
                }
                prefetch_ahead(&scales[p][group * S::PIECES / SUPER], S::PIECES * size_of::<ScaleBytes>());
            } else {
                for piece in 0..C::PIECES {
                    prefetch_far(&codes[piece]);
                }
            }
            let scales = of_super::<S>(scales[p], group);
            for part in 0..S::PARTS {
                let mut whole = [L::splat_sum(0); R];
                if offset::<L, C>() != 0 {
                    let starts = &starts[group * S::PARTS + part];
                    for row in 0..R {
                        whole[row] = L::splat_sum(starts[row]);
                    }
                }
                for step in part * STEPS / S::PARTS..(part + 1) * STEPS / S::PARTS {
                    let vector = C::vector::<L>(codes, step);
                    for row in 0..R {
                        whole[row] = match C::WIDE {
                            true => L::add_bytes(whole[row], vector, x_codes[step][row]),
                            false => L::add_products(whole[row], vector, x_codes[step][row]),
                        };
                    }
                }
                let scale = S::scale::<L>(scales, group % SUPER, part);
                for row in 0..R {
                    let scale = L::multiply(scale, L::splat(x_scale[row]));
                    sums[p][row] = L::fma(L::to_floats(whole[row]), scale, sums[p][row]);
                }
                if S::MINIMA {
                    let min = S::min::<L>(scales, group % SUPER, part);
                    let factors = &min_factors[group * S::PARTS + part];
                    for row in 0..R {
                        sums[p][row] = L::fma(min, L::splat(factors[row]), sums[p][row]);
                    }
                }
            }
        }
    }
    let mut numbers = [[[0.0; OUTPUTS]; R]; P];
    for p in 0..P {
        for row in 0..R {
            numbers[p][row] = L::store(sums[p][row]);
        }
    }
    numbers
}
