//! Weights laid out for products with few rows and with many.

use bytemuck::Pod;
use half::f16;

use crate::blocks::{BlockError, BlockFormat};
use crate::cpu::{LANES, OUTPUTS};
use crate::integer::{BlockPanels, quantize_row};
use crate::paged_buffer::PagedBuffer;
use crate::parallel_rows::{for_row_groups, parallel_map};

/// How the numbers of a [`Matrix`] are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedFormat {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Few bits, with scales; products are sums of whole numbers.
    Blocks(BlockFormat),
}

impl PackedFormat {
    /// Eight bits: Q8_0.
    pub const INT8: Self = Self::Blocks(BlockFormat::Q8_0);

    /// Four bits: IQ4_NL.
    pub const INT4: Self = Self::Blocks(BlockFormat::Iq4Nl);
}

/// A weight matrix `[inputs, outputs]`.
///
/// 32 outputs, or 16 of blocks, make a panel. A panel lies in memory input by input, so that a product reads the
/// matrix from beginning to end, once for all rows that fit the registers.
#[derive(Debug)]
pub struct Matrix {
    inputs: usize,
    outputs: usize,
    pub(crate) panels: Panels,
}

#[derive(Debug)]
pub(crate) enum Panels {
    F32(PagedBuffer<[f32; LANES]>),
    F16(PagedBuffer<[u16; LANES]>),
    Blocks(BlockPanels),
}

impl Matrix {
    /// Lays out a matrix of which `number(input, output)` are the numbers.
    ///
    /// # Panics
    /// If the format is one of blocks that are not [written](BlockFormat::is_written).
    pub fn new(
        format: PackedFormat,
        [inputs, outputs]: [usize; 2],
        number: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let count = outputs.div_ceil(LANES);
        let at = |panel: usize, input: usize, lane: usize| {
            let output = panel * LANES + lane;
            if output < outputs { number(input, output) } else { 0.0 }
        };
        let rows = (0..count).flat_map(|panel| (0..inputs).map(move |input| (panel, input)));
        let panels = match format {
            PackedFormat::F32 => Panels::F32(PagedBuffer::filled(
                count * inputs,
                rows.map(|(panel, input)| std::array::from_fn(|lane| at(panel, input, lane))),
            )),
            PackedFormat::F16 => Panels::F16(PagedBuffer::filled(
                count * inputs,
                rows.map(|(panel, input)| {
                    std::array::from_fn(|lane| f16::from_f32(at(panel, input, lane)).to_bits())
                }),
            )),
            PackedFormat::Blocks(format) => {
                assert!(format.is_written(), "a format that ivl writes");
                Panels::Blocks(BlockPanels::new(format, [inputs, outputs], |outputs, blocks| {
                    let width = inputs.next_multiple_of(format.elements());
                    let mut rows = vec![0.0; outputs.len() * width];
                    // Neighbouring outputs lie side by side where the numbers come from.
                    for input in 0..inputs {
                        for (row, output) in outputs.clone().enumerate() {
                            rows[row * width + input] = number(input, output);
                        }
                    }
                    quantize_row(format, &rows, blocks);
                }))
            }
        };
        Self { inputs, outputs, panels }
    }

    /// Lays out a matrix on several threads, where `row` writes the weights of all inputs for one output. It is called once for each
    /// output.
    ///
    /// # Panics
    /// If the format is one of blocks that are not [written](BlockFormat::is_written).
    pub fn from_rows(
        format: PackedFormat,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let panels = match format {
            PackedFormat::F32 => Panels::F32(float_panels([inputs, outputs], row, |number| number)),
            PackedFormat::F16 => {
                Panels::F16(float_panels([inputs, outputs], row, |number| f16::from_f32(number).to_bits()))
            }
            PackedFormat::Blocks(format) => {
                assert!(format.is_written(), "a format that ivl writes");
                Panels::Blocks(BlockPanels::new(format, [inputs, outputs], |outputs, blocks| {
                    let width = inputs.next_multiple_of(format.elements());
                    let mut numbers = vec![0.0; width];
                    let bytes = (width / format.elements() * format.bytes()).max(1);
                    for (output, blocks) in outputs.zip(blocks.chunks_exact_mut(bytes)) {
                        row(output, &mut numbers[..inputs]);
                        quantize_row(format, &numbers, blocks);
                    }
                }))
            }
        };
        Self { inputs, outputs, panels }
    }

    /// Lays out a matrix whose numbers are in blocks: the blocks of each output's inputs, output by output, as in a GGUF file.
    ///
    /// # Errors
    /// If the inputs are no whole blocks, or the bytes are not those of the matrix.
    pub fn from_blocks(
        format: BlockFormat,
        [inputs, outputs]: [usize; 2],
        blocks: &[u8],
    ) -> Result<Self, BlockError> {
        if !inputs.is_multiple_of(format.elements()) {
            return Err(BlockError::Numbers { format, numbers: inputs, blocks: inputs / format.elements() });
        }
        // Sizes of a file may be as large as any number.
        let row_bytes = (inputs / format.elements()).checked_mul(format.bytes());
        let Some(row_bytes) = row_bytes.filter(|bytes| bytes.checked_mul(outputs) == Some(blocks.len()))
        else {
            return Err(BlockError::Bytes { format, bytes: blocks.len() });
        };
        Self::from_block_rows(format, [inputs, outputs], |output| &blocks[output * row_bytes..][..row_bytes])
    }

    /// The same, where `row` gives the blocks of an output: the outputs may lie in any order, in memory or in a mapped file. It is called
    /// once for each output, on several threads.
    ///
    /// # Errors
    /// If the inputs are no whole blocks.
    ///
    /// # Panics
    /// If a row has not the bytes of its inputs.
    pub fn from_block_rows<'a>(
        format: BlockFormat,
        [inputs, outputs]: [usize; 2],
        row: impl Fn(usize) -> &'a [u8] + Sync,
    ) -> Result<Self, BlockError> {
        if !inputs.is_multiple_of(format.elements()) {
            return Err(BlockError::Numbers { format, numbers: inputs, blocks: inputs / format.elements() });
        }
        let row_bytes = inputs / format.elements() * format.bytes();
        let panels = BlockPanels::new(format, [inputs, outputs], |outputs, to| {
            for (output, to) in outputs.zip(to.chunks_exact_mut(row_bytes.max(1))) {
                to.copy_from_slice(row(output));
            }
        });
        Ok(Self { inputs, outputs, panels: Panels::Blocks(panels) })
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> [usize; 2] {
        [self.inputs, self.outputs]
    }

    /// How the numbers are kept.
    pub fn format(&self) -> PackedFormat {
        match &self.panels {
            Panels::F32(_) => PackedFormat::F32,
            Panels::F16(_) => PackedFormat::F16,
            Panels::Blocks(panels) => PackedFormat::Blocks(panels.format()),
        }
    }

    /// Bytes of the numbers and scales.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(numbers) => size_of_val(&numbers[..]),
            Panels::F16(numbers) => size_of_val(&numbers[..]),
            Panels::Blocks(panels) => panels.bytes(),
        }
    }

    /// Outputs of a panel.
    pub(crate) fn lanes(&self) -> usize {
        match &self.panels {
            Panels::F32(_) | Panels::F16(_) => LANES,
            Panels::Blocks(_) => OUTPUTS,
        }
    }

    /// The weights of all inputs for one output, as a product sees them.
    pub fn output(&self, output: usize) -> Vec<f32> {
        self.outputs(&[output])
    }

    /// Those for each of some outputs, one after the other, on several threads if there are many.
    pub fn outputs(&self, outputs: &[usize]) -> Vec<f32> {
        let mut numbers = vec![0.0; outputs.len() * self.inputs];
        for_row_groups(&mut numbers, self.inputs, |first, rows| {
            for (output, row) in outputs[first..].iter().zip(rows.chunks_exact_mut(self.inputs)) {
                self.write_output(*output, row);
            }
        });
        numbers
    }

    fn write_output(&self, output: usize, row: &mut [f32]) {
        let (panel, lane) = (output / LANES, output % LANES);
        let inputs = panel * self.inputs..(panel + 1) * self.inputs;
        match &self.panels {
            Panels::F32(numbers) => {
                row.iter_mut().zip(&numbers[inputs]).for_each(|(to, numbers)| *to = numbers[lane]);
            }
            Panels::F16(numbers) => {
                let halves = numbers[inputs].iter().map(|numbers| f16::from_bits(numbers[lane]));
                row.iter_mut().zip(halves).for_each(|(to, half)| *to = half.to_f32());
            }
            Panels::Blocks(panels) => panels.write_output(output, row),
        }
    }
}

/// Panels of [`LANES`] outputs; `row` writes the weights of an output.
fn float_panels<T: Pod + Send>(
    [inputs, outputs]: [usize; 2],
    row: impl Fn(usize, &mut [f32]) + Sync,
    narrow: impl Fn(f32) -> T + Sync,
) -> PagedBuffer<[T; LANES]>
where
    [T; LANES]: Pod,
{
    let mut buffer = PagedBuffer::<[T; LANES]>::zeroed(outputs.div_ceil(LANES) * inputs);
    parallel_map(buffer.chunks_mut(inputs.max(1)), |panel, own| {
        let mut numbers = vec![0.0; inputs];
        for lane in 0..LANES.min(outputs - panel * LANES) {
            row(panel * LANES + lane, &mut numbers);
            for (to, number) in own.iter_mut().zip(&numbers) {
                to[lane] = narrow(*number);
            }
        }
    });
    buffer
}
