//! The product of many rows with panels, by tiles.

use std::cell::RefCell;

use super::aligned_codes::AlignedCodes;
use super::coding::Coding;
use super::group::{GROUP, STEPS, SUPER};
use super::multiply::PanelsUnit;
use super::rows::RowBlock;
use super::scaling::{Scaling, of_super};
use crate::cpu::{INPUTS, IntegerLevel, OUTPUTS, TILE_ROWS, TileSums, prefetch};

/// Bytes of a step: of four inputs for all outputs.
const STEP: usize = OUTPUTS * INPUTS;

thread_local! {
    /// Memory for the signed codes of a panel, which all rows are multiplied with.
    static PANEL: RefCell<AlignedCodes> = RefCell::default();
}

impl PanelsUnit<'_> {
    /// All rows with all panels. Codes are unpacked once for all rows.
    #[inline(always)]
    pub(super) fn rows_by_tiles<L: IntegerLevel, C: Coding, S: Scaling>(&self) {
        let groups = self.matrix.codes::<C>(0).len() / C::PIECES;
        let mut memory = PANEL.take().with_room(groups * STEPS * OUTPUTS);
        L::configure_tiles(GROUP / S::PARTS);
        for panel in self.panels.clone() {
            let codes = self.matrix.codes::<C>(panel);
            let steps = memory.steps_mut().as_flattened_mut();
            for group in 0..groups {
                let pieces = &codes[group * C::PIECES..][..C::PIECES];
                for piece in 0..C::PIECES {
                    prefetch(&pieces[piece]);
                }
                for step in 0..STEPS {
                    let signed = L::signed(C::vector::<L>(pieces, step), C::OFFSET);
                    steps[(group * STEPS + step) * STEP..][..STEP].copy_from_slice(&signed);
                }
            }
            for (index, block) in self.rows.blocks.iter().enumerate() {
                let first = index * TILE_ROWS;
                let sums = match S::PARTS {
                    1 => self.multiply_by_tiles::<L, C, S, GROUP>(block, panel, steps),
                    _ => self.multiply_by_tiles::<L, C, S, { GROUP / 2 }>(block, panel, steps),
                };
                self.write::<TILE_ROWS, 1>([panel], first, TILE_ROWS.min(self.rows.rows - first), &[sums]);
            }
        }
        L::release_tiles();
        PANEL.set(memory);
    }

    /// The sums of a block of rows with a panel, whose signed codes are `steps`; a part of a group has `INPUTS_OF_PART` inputs.
    #[inline(always)]
    fn multiply_by_tiles<L: IntegerLevel, C: Coding, S: Scaling, const INPUTS_OF_PART: usize>(
        &self,
        x: &RowBlock,
        panel: usize,
        steps: &[i8],
    ) -> [[f32; OUTPUTS]; TILE_ROWS] {
        let corrections = x.corrections_for::<L, C, S>();
        let min_factors =
            corrections.map_or(&[][..], |corrections| corrections.min_factors.as_chunks::<TILE_ROWS>().0);
        let scales = self.matrix.scales::<S>(panel);
        let x_scales = x.scales.as_chunks::<TILE_ROWS>().0;
        let codes = x.codes().as_flattened();
        let parts = x_scales.len() * S::PARTS;
        let multiply = |part: usize, sums: &mut TileSums| {
            let (group, inputs) = (part / S::PARTS, part % S::PARTS * INPUTS_OF_PART);
            let x = &codes[group * TILE_ROWS * GROUP + inputs..];
            let own = &steps[(group * GROUP + inputs) * OUTPUTS..];
            L::multiply_tile::<INPUTS_OF_PART>(x, GROUP, own, sums, part % 2 == 1);
        };
        let mut whole = [const { TileSums([[0; OUTPUTS]; TILE_ROWS]) }; 2];
        let mut sums = [L::splat(0.0); TILE_ROWS];
        if parts > 0 {
            multiply(0, &mut whole[0]);
        }
        for part in 0..parts {
            // The tiles work on the next part meanwhile.
            if part + 1 < parts {
                multiply(part + 1, &mut whole[(part + 1) % 2]);
            }
            let (group, half) = (part / S::PARTS, part % S::PARTS);
            let own = of_super::<S>(scales, group);
            let scale = S::scale::<L>(own, group % SUPER, half);
            let x_scale = &x_scales[group];
            let whole = &whole[part % 2].0;
            for row in 0..TILE_ROWS {
                let scale = L::multiply(scale, L::splat(x_scale[row]));
                sums[row] = L::fma(L::to_floats(L::load_sums(&whole[row])), scale, sums[row]);
            }
            if S::MINIMA {
                let min = S::min::<L>(own, group % SUPER, half);
                let factors = &min_factors[part];
                for row in 0..TILE_ROWS {
                    sums[row] = L::fma(min, L::splat(factors[row]), sums[row]);
                }
            }
        }
        let mut numbers = [[0.0; OUTPUTS]; TILE_ROWS];
        for row in 0..TILE_ROWS {
            numbers[row] = L::store(sums[row]);
        }
        numbers
    }
}
