//! How scales and minima lie in memory, and how they become floats.

use super::group::SUPER;
use crate::blocks::RawBlock;
use crate::cpu::{IntegerLevel, OUTPUTS};

/// Bytes of a number for each output.
pub(super) type ScaleBytes = [u8; OUTPUTS];

/// A form in which the scales of [`SUPER`] neighbouring groups are kept.
pub(super) trait Scaling {
    /// Pieces of memory that so many groups have.
    const PIECES: usize;

    /// Whether the groups have them one after the other, so that fewer groups have fewer.
    const BY_GROUP: bool;

    /// Parts of a group that have scales of their own: one or two.
    const PARTS: usize;

    /// Whether there are minima.
    const MINIMA: bool;

    /// The scale of a part of a group for each output.
    fn scale<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, part: usize) -> L::Floats;

    /// The minimum of a part of a group for each output, which is subtracted.
    fn min<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, part: usize) -> L::Floats;

    /// Writes the scales and minima of an output in the groups of a block, which begins with the given group.
    fn put(scales: &mut [ScaleBytes], group: usize, output: usize, block: &RawBlock);
}

/// The scales of the neighbouring groups among which `group` is. At the end of a row there may be fewer.
#[inline(always)]
pub(super) fn of_super<S: Scaling>(scales: &[ScaleBytes], group: usize) -> &[ScaleBytes] {
    let rest = &scales[group / SUPER * S::PIECES..];
    &rest[..S::PIECES.min(rest.len())]
}

/// A half-precision number for each output in two pieces.
#[inline(always)]
fn halves(pieces: &[ScaleBytes], at: usize) -> [u16; OUTPUTS] {
    let mut halves = [0; OUTPUTS];
    let bytes = pieces[at..at + 2].as_flattened();
    for output in 0..OUTPUTS {
        halves[output] = u16::from_le_bytes([bytes[2 * output], bytes[2 * output + 1]]);
    }
    halves
}

fn put_half(pieces: &mut [ScaleBytes], at: usize, output: usize, half: u16) {
    pieces[at..at + 2].as_flattened_mut().as_chunks_mut::<2>().0[output] = half.to_le_bytes();
}

#[inline(always)]
fn signed(bytes: ScaleBytes) -> [i8; OUTPUTS] {
    bytemuck::cast(bytes)
}

/// A half-precision scale for each group and, if `MINIMA`, a half-precision minimum.
#[derive(Debug)]
pub(super) struct HalfScales<const MINIMA: bool>;

impl<const MINIMA: bool> HalfScales<MINIMA> {
    const OF_GROUP: usize = if MINIMA { 4 } else { 2 };
}

impl<const MINIMA: bool> Scaling for HalfScales<MINIMA> {
    const PIECES: usize = SUPER * Self::OF_GROUP;
    const BY_GROUP: bool = true;
    const PARTS: usize = 1;
    const MINIMA: bool = MINIMA;

    #[inline(always)]
    fn scale<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, _: usize) -> L::Floats {
        L::widen_halves(halves(scales, group * Self::OF_GROUP))
    }

    #[inline(always)]
    fn min<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, _: usize) -> L::Floats {
        L::widen_halves(halves(scales, group * Self::OF_GROUP + 2))
    }

    fn put(scales: &mut [ScaleBytes], group: usize, output: usize, block: &RawBlock) {
        // Both came from half precision.
        let [d, d_min] = [block.d, block.d_min].map(|number| half::f16::from_f32(number).to_bits());
        put_half(scales, group * Self::OF_GROUP, output, d);
        if MINIMA {
            put_half(scales, group * Self::OF_GROUP + 2, output, d_min);
        }
    }
}

/// A power of two for each group, as the upper half of a float.
#[derive(Debug)]
pub(super) struct PowerScales;

impl Scaling for PowerScales {
    const PIECES: usize = SUPER * 2;
    const BY_GROUP: bool = true;
    const PARTS: usize = 1;
    const MINIMA: bool = false;

    #[inline(always)]
    fn scale<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, _: usize) -> L::Floats {
        L::widen_bfloats(halves(scales, group * 2))
    }

    #[inline(always)]
    fn min<L: IntegerLevel>(_: &[ScaleBytes], _: usize, _: usize) -> L::Floats {
        L::splat(0.0)
    }

    fn put(scales: &mut [ScaleBytes], group: usize, output: usize, block: &RawBlock) {
        put_half(scales, group * 2, output, (block.d.to_bits() >> 16) as u16);
    }
}

/// A half-precision factor for all groups, a byte for each part of a group and, if `MINIMA`, the same again.
#[derive(Debug)]
pub(super) struct ByteScales<const PARTS: usize, const MINIMA: bool>;

impl<const PARTS: usize, const MINIMA: bool> ByteScales<PARTS, MINIMA> {
    const BYTES: usize = if MINIMA { 4 } else { 2 };
    const MIN_BYTES: usize = Self::BYTES + SUPER * PARTS;
}

impl<const PARTS: usize, const MINIMA: bool> Scaling for ByteScales<PARTS, MINIMA> {
    const PIECES: usize = if MINIMA { 4 + 2 * SUPER * PARTS } else { 2 + SUPER * PARTS };
    const BY_GROUP: bool = false;
    const PARTS: usize = PARTS;
    const MINIMA: bool = MINIMA;

    #[inline(always)]
    fn scale<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, part: usize) -> L::Floats {
        let bytes = signed(scales[Self::BYTES + group * PARTS + part]);
        L::multiply(L::widen_halves(halves(scales, 0)), L::widen_bytes(bytes))
    }

    #[inline(always)]
    fn min<L: IntegerLevel>(scales: &[ScaleBytes], group: usize, part: usize) -> L::Floats {
        let bytes = signed(scales[Self::MIN_BYTES + group * PARTS + part]);
        L::multiply(L::widen_halves(halves(scales, 2)), L::widen_bytes(bytes))
    }

    fn put(scales: &mut [ScaleBytes], _: usize, output: usize, block: &RawBlock) {
        let [d, d_min] = [block.d, block.d_min].map(|number| half::f16::from_f32(number).to_bits());
        put_half(scales, 0, output, d);
        if MINIMA {
            put_half(scales, 2, output, d_min);
        }
        for part in 0..SUPER * PARTS {
            // A raw block has a scale for each half of a group.
            let of_block = part * 2 / PARTS;
            scales[Self::BYTES + part][output] = block.scales[of_block] as u8;
            if MINIMA {
                scales[Self::MIN_BYTES + part][output] = block.mins[of_block] as u8;
            }
        }
    }
}
