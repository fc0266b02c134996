//! Weights in blocks, laid out for products.

use std::ops::Range;

use half::f16;

use super::coding::Coding;
use super::group::{GROUP, STEPS, SUPER};
use super::layout::{LayoutTask, with_layout};
use super::scaling::{ScaleBytes, Scaling, of_super};
use crate::blocks::{BlockFormat, RAW_GROUP, RawBlock};
use crate::cpu::{CodeBytes, INPUTS, OUTPUTS};
use crate::paged_buffer::PagedBuffer;
use crate::parallel_rows::parallel_map;
use crate::upcoming::Places;

/// Inputs whose scales lie together.
const SUPER_INPUTS: usize = SUPER * GROUP;

/// A weight matrix in blocks. [`OUTPUTS`] outputs make a panel, in which codes and scales lie in the order in which a product reads
/// them. The numbers are exactly those of the blocks.
#[derive(Debug)]
pub(crate) struct BlockPanels {
    pub(super) format: BlockFormat,
    /// Of [`GROUP`] inputs, in each panel.
    groups: usize,
    codes: PagedBuffer<CodeBytes>,
    scales: PagedBuffer<ScaleBytes>,
}

impl BlockPanels {
    /// Lays out a matrix; `read` writes the blocks of some outputs, and is called once for each panel, on several threads.
    pub(crate) fn new(
        format: BlockFormat,
        [inputs, outputs]: [usize; 2],
        read: impl Fn(Range<usize>, &mut [u8]) + Sync,
    ) -> Self {
        // A block may be longer than a group.
        let groups = inputs.next_multiple_of(format.elements()).div_ceil(GROUP);
        let panels = outputs.div_ceil(OUTPUTS);
        let [code_pieces, scale_pieces] = with_layout(format, Pieces(groups));
        let mut codes = PagedBuffer::zeroed(panels * code_pieces);
        let mut scales = PagedBuffer::zeroed(panels * scale_pieces);
        let row_bytes = inputs.div_ceil(format.elements()) * format.bytes();
        let parts = codes.chunks_mut(code_pieces.max(1));
        let parts = parts.zip(scales.chunks_mut(scale_pieces.max(1)));
        parallel_map(parts, |panel, (codes, scales)| {
            let first = panel * OUTPUTS;
            let own = first..outputs.min(first + OUTPUTS);
            let mut rows = vec![0; own.len() * row_bytes];
            read(own, &mut rows);
            with_layout(
                format,
                LayPanel { format, rows: &rows, row_bytes, codes: &mut codes[..], scales: &mut scales[..] },
            );
        });
        Self { format, groups, codes, scales }
    }

    /// The format of the blocks.
    pub(crate) fn format(&self) -> BlockFormat {
        self.format
    }

    /// Bytes of codes and scales.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.codes[..]) + size_of_val(&self.scales[..])
    }

    /// Where codes and scales of some panels lie, if `parts` of them are read side by side.
    pub(crate) fn places(&self, panels: Range<usize>, parts: usize) -> Places {
        let [code_pieces, scale_pieces] = with_layout(self.format, Pieces(self.groups));
        let (codes, scales) = (code_pieces * size_of::<CodeBytes>(), scale_pieces * size_of::<ScaleBytes>());
        let apart = (panels.len() / parts).max(1);
        let mut places = Vec::with_capacity(2 * parts);
        for first in panels.step_by(apart).take(parts) {
            places.push((self.codes.as_ptr() as usize + first * codes, apart * codes));
            places.push((self.scales.as_ptr() as usize + first * scales, apart * scales));
        }
        places
    }

    /// The codes of a panel.
    #[inline(always)]
    pub(super) fn codes<C: Coding>(&self, panel: usize) -> &[CodeBytes] {
        let len = self.groups * C::PIECES;
        &self.codes[panel * len..][..len]
    }

    /// The scales of a panel.
    #[inline(always)]
    pub(super) fn scales<S: Scaling>(&self, panel: usize) -> &[ScaleBytes] {
        let len = scale_pieces::<S>(self.groups);
        &self.scales[panel * len..][..len]
    }

    /// The weights of an output, as many as there are places.
    pub(crate) fn write_output(&self, output: usize, numbers: &mut [f32]) {
        with_layout(self.format, ReadOutput { panels: self, output, numbers });
    }
}

/// Pieces of codes and of scales that so many groups have.
struct Pieces(usize);

impl LayoutTask for Pieces {
    type Output = [usize; 2];

    fn run<C: Coding, S: Scaling>(self) -> [usize; 2] {
        [self.0 * C::PIECES, scale_pieces::<S>(self.0)]
    }
}

/// Pieces of scales that so many groups have.
#[inline(always)]
fn scale_pieces<S: Scaling>(groups: usize) -> usize {
    match S::BY_GROUP {
        true => groups * (S::PIECES / SUPER),
        false => groups.div_ceil(SUPER) * S::PIECES,
    }
}

/// Lays out the rows of a panel.
struct LayPanel<'a> {
    format: BlockFormat,
    rows: &'a [u8],
    row_bytes: usize,
    codes: &'a mut [CodeBytes],
    scales: &'a mut [ScaleBytes],
}

impl LayoutTask for LayPanel<'_> {
    type Output = ();

    fn run<C: Coding, S: Scaling>(self) {
        let (elements, bytes) = (self.format.elements(), self.format.bytes());
        let zero = C::code(0);
        let mut block = RawBlock::default();
        // For each step, the codes of all outputs.
        let mut vectors = vec![[zero; OUTPUTS * INPUTS]; elements / INPUTS];
        for first in (0..self.row_bytes / bytes).map(|index| index * elements) {
            for (output, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
                block.read(self.format, &row[first / elements * bytes..][..bytes]);
                for (vector, numbers) in vectors.iter_mut().zip(block.numbers.as_chunks::<INPUTS>().0) {
                    // Of a known length: a copy of four bytes is no call.
                    vector.as_chunks_mut::<INPUTS>().0[output] = numbers.map(C::code);
                }
                let scales = &mut self.scales[first / SUPER_INPUTS * S::PIECES..];
                S::put(scales, first % SUPER_INPUTS / GROUP, output, &block);
            }
            for (step, codes) in vectors.iter().enumerate() {
                let group = first / GROUP + step / STEPS;
                C::put(&mut self.codes[group * C::PIECES..][..C::PIECES], step % STEPS, codes);
            }
        }
    }
}

/// The weights of one output.
struct ReadOutput<'a> {
    panels: &'a BlockPanels,
    output: usize,
    numbers: &'a mut [f32],
}

impl LayoutTask for ReadOutput<'_> {
    type Output = ();

    fn run<C: Coding, S: Scaling>(self) {
        type Plain = crate::cpu::PortableIntegers;
        let (panel, lane) = (self.output / OUTPUTS, self.output % OUTPUTS);
        let (codes, scales) = (self.panels.codes::<C>(panel), self.panels.scales::<S>(panel));
        for (index, numbers) in self.numbers.chunks_mut(RAW_GROUP).enumerate() {
            let (group, half) = (index * RAW_GROUP / GROUP, index % 2);
            let own = of_super::<S>(scales, group);
            let part = half * S::PARTS / 2;
            let scale = S::scale::<Plain>(own, group % SUPER, part)[lane];
            let min = if S::MINIMA { S::min::<Plain>(own, group % SUPER, part)[lane] } else { 0.0 };
            let codes = &codes[group * C::PIECES..][..C::PIECES];
            for (step, numbers) in numbers.chunks_mut(INPUTS).enumerate() {
                for (place, number) in (lane * INPUTS..).zip(numbers) {
                    let code = C::code_at(codes, half * STEPS / 2 + step, place);
                    *number = scale * (i32::from(code) - C::OFFSET) as f32 - min;
                }
            }
        }
    }
}

/// Writes the blocks of a row of numbers, which are whole blocks.
///
/// A block with a number that its scale cannot hold gets a scale that is no number, so that every result with it shows that.
pub(crate) fn quantize_row(format: BlockFormat, row: &[f32], blocks: &mut [u8]) {
    let parts = row.chunks_exact(format.elements()).zip(blocks.chunks_exact_mut(format.bytes()));
    for (numbers, block) in parts {
        if format.quantize(numbers, block).is_err() {
            block.fill(0);
            let nan = f16::NAN.to_le_bytes();
            match format {
                BlockFormat::Mxfp4 => block[0] = u8::MAX,
                BlockFormat::Q6K => block[208..].copy_from_slice(&nan),
                _ => block[..2].copy_from_slice(&nan),
            }
        }
    }
}
