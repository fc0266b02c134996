//! Rows rounded to signed bytes.

use super::aligned_codes::AlignedCodes;
use super::coding::Coding;
use super::group::{GROUP, STEPS};
use super::layout::{LayoutTask, with_layout};
use super::scaling::Scaling;
use crate::blocks::BlockFormat;
use crate::cpu::{INPUTS, IntegerKernel, IntegerLevel, Kernel, Level, TILE_ROWS, run, run_integers};
use crate::parallel_rows::parallel_map;

/// A group whose largest number is smaller counts as zeros: the inverse of its scale would not be finite.
const SMALLEST: f32 = 1e-30;

/// The bit of a float that is its sign.
const SIGN: u32 = 1 << 31;

/// Added to a number of at most 2^21, and subtracted again, it rounds to the nearest whole number, half to even.
const ROUNDER: f32 = (3u32 << 22) as f32;

/// Rows in blocks of the same number of rows, each block input by input. Rows that the last block lacks are zeros.
#[derive(Debug)]
pub(crate) struct IntegerRows {
    /// Rows that there are.
    pub(super) rows: usize,
    /// Rows of a block.
    pub(super) of_block: usize,
    pub(super) blocks: Vec<RowBlock>,
}

/// Some rows.
#[derive(Debug)]
pub(super) struct RowBlock {
    /// Of each group: for each step of four inputs, those of each row. A block for tiles has the steps of each row.
    codes: AlignedCodes,
    /// Of each group: the scale of each row.
    pub(super) scales: Vec<f32>,
    /// What the sums of the codes are needed for, of each kind that a matrix has.
    corrections: Vec<(CorrectionKind, Corrections)>,
}

/// What a format takes off its sums of products, in so many parts of a group: the offset of its codes or, if that is zero,
/// minima.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CorrectionKind {
    offset: i32,
    parts: usize,
}

/// Of each part of each group, for each row.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    /// The sum of the codes times the offset, negative: what sums of products start with.
    pub(super) starts: Vec<i32>,
    /// The sum of the codes times the scale, negative: what a minimum is multiplied with.
    pub(super) min_factors: Vec<f32>,
}

impl CorrectionKind {
    /// That of a format at this processor's level of instructions, if it has any.
    fn new(format: BlockFormat) -> Option<Self> {
        struct Find<'a>(BlockFormat, &'a mut Option<CorrectionKind>);
        struct FindAtLevel<L>(std::marker::PhantomData<L>);
        impl IntegerKernel for Find<'_> {
            fn run<L: IntegerLevel>(self) {
                *self.1 = with_layout(self.0, FindAtLevel::<L>(std::marker::PhantomData));
            }
        }
        impl<L: IntegerLevel> LayoutTask for FindAtLevel<L> {
            type Output = Option<CorrectionKind>;

            fn run<C: Coding, S: Scaling>(self) -> Option<CorrectionKind> {
                let (offset, parts) = (offset::<L, C>(), S::PARTS);
                (offset != 0 || S::MINIMA).then_some(CorrectionKind { offset, parts })
            }
        }
        let mut kind = None;
        run_integers(Find(format, &mut kind));
        kind
    }
}

/// What stays in the codes of a product: the processor or the coding subtracts the rest.
pub(super) const fn offset<L: IntegerLevel, C: Coding>() -> i32 {
    if C::WIDE { L::BYTE_OFFSET } else { C::OFFSET }
}

impl IntegerRows {
    /// Rounds rows for matrices of these formats; `most` are the rows of a block.
    pub(crate) fn new(
        x: &[f32],
        inputs: usize,
        most: usize,
        formats: impl Iterator<Item = BlockFormat>,
    ) -> Self {
        let mut kinds: Vec<CorrectionKind> = Vec::new();
        for kind in formats.filter_map(CorrectionKind::new) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let rows = x.len() / inputs;
        let of_block = rows_of_block(rows, most);
        if rows <= of_block {
            // A step of decoding: there is nothing to share out.
            return Self { rows, of_block, blocks: vec![RowBlock::new(x, inputs, of_block, &kinds)] };
        }
        let blocks = x.chunks(of_block * inputs).map(|x| (x, None));
        let blocks =
            parallel_map(blocks, |_, (x, block)| *block = Some(RowBlock::new(x, inputs, of_block, &kinds)));
        let blocks = blocks.into_iter().map(|(_, block)| block.expect("each part is visited")).collect();
        Self { rows, of_block, blocks }
    }
}

/// Numbers of rows for which there are kernels; the last are those of a tile.
const BLOCK_ROWS: [usize; 4] = [1, 4, 8, TILE_ROWS];

/// As few blocks as possible, and alike.
fn rows_of_block(rows: usize, most: usize) -> usize {
    let blocks = rows.div_ceil(most).max(1);
    let needed = rows.div_ceil(blocks);
    *BLOCK_ROWS.iter().find(|&&rows| rows >= needed).expect("`most` is one of them")
}

impl RowBlock {
    fn new(x: &[f32], inputs: usize, rows: usize, kinds: &[CorrectionKind]) -> Self {
        let groups = inputs.div_ceil(GROUP);
        let mut block = Self {
            codes: AlignedCodes::zeroed(groups * STEPS * rows),
            scales: vec![0.0; groups * rows],
            corrections: Vec::new(),
        };
        let mut half_sums = vec![[0; 2]; groups * rows];
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            run(RoundRow { x, row, rows, block: &mut block, half_sums: &mut half_sums });
        }
        for &kind in kinds {
            block.corrections.push((kind, block.corrections(kind, rows, &half_sums)));
        }
        block
    }

    fn corrections(&self, kind: CorrectionKind, rows: usize, half_sums: &[[i32; 2]]) -> Corrections {
        let mut corrections = Corrections::default();
        let len = half_sums.len() * kind.parts;
        match kind.offset {
            0 => corrections.min_factors.reserve_exact(len),
            _ => corrections.starts.reserve_exact(len),
        }
        for (scales, sums) in self.scales.chunks_exact(rows).zip(half_sums.chunks_exact(rows)) {
            for part in 0..kind.parts {
                for (scale, sums) in scales.iter().zip(sums) {
                    let sum = if kind.parts == 1 { sums[0] + sums[1] } else { sums[part] };
                    match kind.offset {
                        0 => corrections.min_factors.push(-(scale * sum as f32)),
                        offset => corrections.starts.push(-offset * sum),
                    }
                }
            }
        }
        corrections
    }

    /// The codes.
    #[inline(always)]
    pub(super) fn codes(&self) -> &[[i8; INPUTS]] {
        self.codes.steps()
    }

    /// The corrections for a coding and a scaling; none if they need none.
    #[inline(always)]
    pub(super) fn corrections_for<L: IntegerLevel, C: Coding, S: Scaling>(&self) -> Option<&Corrections> {
        let wanted = CorrectionKind { offset: offset::<L, C>(), parts: S::PARTS };
        self.corrections.iter().find(|(kind, _)| *kind == wanted).map(|(_, corrections)| corrections)
    }
}

/// Rounds one row of a block.
struct RoundRow<'a> {
    x: &'a [f32],
    row: usize,
    rows: usize,
    block: &'a mut RowBlock,
    half_sums: &'a mut [[i32; 2]],
}

impl Kernel for RoundRow<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Self { x, row, rows, block, half_sums: all_half_sums } = self;
        let all_codes = block.codes.steps_mut();
        let (whole, rest) = x.as_chunks::<GROUP>();
        for group in 0..x.len().div_ceil(GROUP) {
            let mut numbers = [0.0; GROUP];
            if group < whole.len() {
                numbers = whole[group];
            } else {
                numbers[..rest.len()].copy_from_slice(rest);
            }
            let (codes, scale, half_sums) = round_group(&numbers);
            let codes = codes.as_chunks::<INPUTS>().0;
            for step in 0..STEPS {
                let at = match rows {
                    TILE_ROWS => (group * rows + row) * STEPS + step,
                    _ => (group * STEPS + step) * rows + row,
                };
                all_codes[at] = codes[step];
            }
            block.scales[group * rows + row] = scale;
            all_half_sums[group * rows + row] = half_sums;
        }
    }
}

/// The codes, their scale and the sums of both halves. A number that is not finite makes the scale not a number.
#[inline(always)]
pub(crate) fn round_group(x: &[f32; GROUP]) -> ([i8; GROUP], f32, [i32; 2]) {
    // Magnitudes are in the order of their bits, which may be compared in any order; what is not finite comes last.
    let mut largest = 0;
    for lane in 0..GROUP {
        largest = largest.max(x[lane].to_bits() & !SIGN);
    }
    let most = f32::from_bits(largest);
    let (scale, inverse) = if largest >= f32::INFINITY.to_bits() {
        (f32::NAN, 0.0)
    } else if most > SMALLEST {
        (most / 127.0, 127.0 / most)
    } else {
        (0.0, 0.0)
    };
    let mut codes = [0; GROUP];
    let mut half_sums = [0; 2];
    for half in 0..2 {
        for lane in half * GROUP / 2..(half + 1) * GROUP / 2 {
            // The last byte of the sum is the whole number.
            codes[lane] = (x[lane] * inverse + ROUNDER).to_bits() as u8 as i8;
            half_sums[half] += i32::from(codes[lane]);
        }
    }
    (codes, scale, half_sums)
}
