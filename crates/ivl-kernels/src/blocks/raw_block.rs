//! A block of any format as whole numbers.

use half::f16;

use super::format::BlockFormat;

/// Neighbouring weights that always have the same scale and minimum in a [`RawBlock`].
pub(crate) const RAW_GROUP: usize = 16;

/// Weights of the longest block.
pub(super) const LONGEST: usize = 256;

/// The whole numbers in a block: weight `i` is `d * scales[i / 16] * numbers[i] - d_min * mins[i / 16]`.
///
/// A short block uses the first entries.
#[derive(Debug, Clone)]
pub(crate) struct RawBlock {
    pub(crate) d: f32,
    pub(crate) d_min: f32,
    pub(crate) scales: [i8; LONGEST / RAW_GROUP],
    pub(crate) mins: [i8; LONGEST / RAW_GROUP],
    pub(crate) numbers: [i8; LONGEST],
}

impl Default for RawBlock {
    fn default() -> Self {
        Self { d: 0.0, d_min: 0.0, scales: [1; 16], mins: [0; 16], numbers: [0; LONGEST] }
    }
}

impl RawBlock {
    /// Reads a block.
    ///
    /// # Panics
    /// If it has not the bytes of the format.
    pub(crate) fn read(&mut self, format: BlockFormat, block: &[u8]) {
        assert_eq!(block.len(), format.bytes(), "one block");
        (self.d_min, self.scales, self.mins) = (0.0, [1; 16], [0; 16]);
        match format {
            BlockFormat::Q4_0 => self.read_q4_0(block),
            BlockFormat::Q4_1 => self.read_q4_1(block),
            BlockFormat::Q5_0 => self.read_q5_0(block),
            BlockFormat::Q5_1 => self.read_q5_1(block),
            BlockFormat::Q8_0 => self.read_q8_0(block),
            BlockFormat::Iq4Nl => self.read_iq4_nl(block),
            BlockFormat::Mxfp4 => self.read_mxfp4(block),
            BlockFormat::Q2K => self.read_q2_k(block),
            BlockFormat::Q3K => self.read_q3_k(block),
            BlockFormat::Q4K => self.read_q4_k(block),
            BlockFormat::Q5K => self.read_q5_k(block),
            BlockFormat::Q6K => self.read_q6_k(block),
            BlockFormat::Iq4Xs => self.read_iq4_xs(block),
        }
    }

    /// Writes the first weights, as many as there are places.
    pub(crate) fn write_numbers(&self, numbers: &mut [f32]) {
        for (group, to) in numbers.chunks_mut(RAW_GROUP).enumerate() {
            let [scale, min] =
                [self.d * f32::from(self.scales[group]), self.d_min * f32::from(self.mins[group])];
            for (to, number) in to.iter_mut().zip(&self.numbers[group * RAW_GROUP..]) {
                *to = scale * f32::from(*number) - min;
            }
        }
    }
}

/// A half-precision number at the start of some bytes.
pub(super) fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}
