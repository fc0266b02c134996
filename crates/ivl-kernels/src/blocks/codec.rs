//! From blocks to numbers and back.

use super::format::{BlockError, BlockFormat};
use super::quantize;
use super::raw_block::RawBlock;

impl BlockFormat {
    /// Writes the numbers that blocks mean, to the bit those of the Python package `gguf`.
    ///
    /// # Errors
    /// If `blocks` is no whole number of blocks, or `numbers` has not their length.
    pub fn dequantize(self, blocks: &[u8], numbers: &mut [f32]) -> Result<(), BlockError> {
        self.check(blocks, numbers)?;
        let mut raw = RawBlock::default();
        for (block, numbers) in
            blocks.chunks_exact(self.bytes()).zip(numbers.chunks_exact_mut(self.elements()))
        {
            raw.read(self, block);
            raw.write_numbers(numbers);
        }
        Ok(())
    }

    /// Writes the blocks that mean about these numbers.
    ///
    /// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and MXFP4 are to the bit those of the Python package `gguf`, whose scales come from the
    /// largest number. The scales of Q4_K, Q5_K, Q6_K and IQ4_NL minimise the squared error.
    ///
    /// # Errors
    /// If the lengths do not fit, a number or its scale is not finite, or the format is not
    /// [written](Self::is_written).
    pub fn quantize(self, numbers: &[f32], blocks: &mut [u8]) -> Result<(), BlockError> {
        if !self.is_written() {
            return Err(BlockError::NotWritten(self));
        }
        self.check(blocks, numbers)?;
        let groups = numbers.chunks_exact(self.elements()).zip(blocks.chunks_exact_mut(self.bytes()));
        for (index, (numbers, block)) in groups.enumerate() {
            if let Some(at) = quantize::not_finite(self, numbers) {
                return Err(BlockError::NotFinite {
                    index: index * self.elements() + at,
                    number: numbers[at],
                });
            }
            quantize::write_block(self, numbers, block);
        }
        Ok(())
    }
}
