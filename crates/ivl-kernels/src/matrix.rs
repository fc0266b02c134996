//! Weights laid out for products with few rows and with many.

use half::f16;

use crate::cpu::LANES;
use crate::paged_buffer::PagedBuffer;

/// How the numbers of a [`Matrix`] are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedFormat {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Eight bits, symmetric around zero, with a scale for each [`INT8_GROUP`] inputs of an output.
    Int8,
}

/// Inputs of an output that share a scale in [`PackedFormat::Int8`].
pub const INT8_GROUP: usize = 32;

/// A weight matrix `[inputs, outputs]`.
///
/// 32 outputs make a panel. A panel lies in memory input by input, so that a product reads the
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
    Int8 { numbers: PagedBuffer<[i8; LANES]>, scales: PagedBuffer<[f32; LANES]> },
}

impl Matrix {
    /// Lays out a matrix of which `number(input, output)` are the numbers.
    pub fn new(
        format: PackedFormat,
        [inputs, outputs]: [usize; 2],
        number: impl Fn(usize, usize) -> f32,
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
            PackedFormat::Int8 => {
                let groups = (0..count)
                    .flat_map(|panel| (0..inputs).step_by(INT8_GROUP).map(move |first| (panel, first)));
                let scale = |panel: usize, first: usize, lane| {
                    let group = first..(first + INT8_GROUP).min(inputs);
                    group.map(|input| at(panel, input, lane).abs()).fold(0.0, f32::max) / 127.0
                };
                let scales: PagedBuffer<[f32; LANES]> = PagedBuffer::filled(
                    count * inputs.div_ceil(INT8_GROUP),
                    groups.map(|(panel, first)| std::array::from_fn(|lane| scale(panel, first, lane))),
                );
                let numbers = rows.map(|(panel, input)| {
                    let scales = &scales[panel * inputs.div_ceil(INT8_GROUP) + input / INT8_GROUP];
                    std::array::from_fn(|lane| match scales[lane] {
                        0.0 => 0,
                        scale => (at(panel, input, lane) / scale).round() as i8,
                    })
                });
                Panels::Int8 { numbers: PagedBuffer::filled(count * inputs, numbers), scales }
            }
        };
        Self { inputs, outputs, panels }
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> [usize; 2] {
        [self.inputs, self.outputs]
    }

    /// How the numbers are kept.
    pub fn format(&self) -> PackedFormat {
        match self.panels {
            Panels::F32(_) => PackedFormat::F32,
            Panels::F16(_) => PackedFormat::F16,
            Panels::Int8 { .. } => PackedFormat::Int8,
        }
    }

    /// Bytes of the numbers and scales.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(numbers) => size_of_val(&numbers[..]),
            Panels::F16(numbers) => size_of_val(&numbers[..]),
            Panels::Int8 { numbers, scales } => size_of_val(&numbers[..]) + size_of_val(&scales[..]),
        }
    }

    /// One number, as a product sees it.
    pub fn number(&self, input: usize, output: usize) -> f32 {
        let (panel, lane) = (output / LANES, output % LANES);
        let row = panel * self.inputs + input;
        match &self.panels {
            Panels::F32(numbers) => numbers[row][lane],
            Panels::F16(numbers) => f16::from_bits(numbers[row][lane]).to_f32(),
            Panels::Int8 { numbers, scales } => {
                let group = panel * self.inputs.div_ceil(INT8_GROUP) + input / INT8_GROUP;
                f32::from(numbers[row][lane]) * scales[group][lane]
            }
        }
    }
}
