//! Reading the blocks of 256 weights.

use super::raw_block::{RAW_GROUP, RawBlock, half};
use super::simple_blocks::IQ4_NUMBERS;

impl RawBlock {
    /// Bytes: 16 of scales and minima, 64 of numbers, `d`, `d_min`.
    pub(super) fn read_q2_k(&mut self, block: &[u8]) {
        (self.d, self.d_min) = (half(&block[80..]), half(&block[82..]));
        for (group, byte) in block[..16].iter().enumerate() {
            self.scales[group] = (byte & 15) as i8;
            self.mins[group] = (byte >> 4) as i8;
        }
        self.put_pairs(&block[16..80], |pair, _| pair as i8);
    }

    /// Bytes: 32 of third bits, 64 of numbers, 12 of scales, `d`.
    pub(super) fn read_q3_k(&mut self, block: &[u8]) {
        self.d = half(&block[108..]);
        let scales = &block[96..108];
        for group in 0..16 {
            let low = scales[group % 8] >> (group / 8 * 4) & 15;
            let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
            self.scales[group] = (low | high << 4) as i8 - 32;
        }
        // The third bit means that four is not subtracted.
        let third = |at: usize| (block[at % 32] >> (at / 32) & 1) as i8;
        self.put_pairs(&block[32..96], |pair, at| pair as i8 - 4 + 4 * third(at));
    }

    /// Bytes: `d`, `d_min`, 12 of scales and minima, 128 of numbers.
    pub(super) fn read_q4_k(&mut self, block: &[u8]) {
        self.put_six_bit_scales(block);
        self.put_long_nibbles(&block[16..144], |nibble, _| nibble as i8);
    }

    /// Bytes: `d`, `d_min`, 12 of scales and minima, 32 of fifth bits, 128 of numbers.
    pub(super) fn read_q5_k(&mut self, block: &[u8]) {
        self.put_six_bit_scales(block);
        let fifth = |at: usize| (block[16 + at % 32] >> (at / 32) & 1) << 4;
        self.put_long_nibbles(&block[48..176], |nibble, at| (nibble | fifth(at)) as i8);
    }

    /// Bytes: 128 of low halves, 64 of high bits, 16 scales, `d`.
    pub(super) fn read_q6_k(&mut self, block: &[u8]) {
        self.d = half(&block[208..]);
        for (scale, byte) in self.scales.iter_mut().zip(&block[192..208]) {
            *scale = *byte as i8;
        }
        // Loops over 32 numbers become vector instructions.
        for (quarter, numbers) in self.numbers.chunks_exact_mut(32).enumerate() {
            let (part, quarter) = (quarter / 4, quarter % 4);
            let lows = &block[part * 64 + quarter % 2 * 32..][..32];
            let highs = &block[128 + part * 32..][..32];
            for (lane, number) in numbers.iter_mut().enumerate() {
                let (low, high) = (lows[lane] >> (quarter / 2 * 4) & 15, highs[lane] >> (quarter * 2) & 3);
                *number = (low | high << 4) as i8 - 32;
            }
        }
    }

    /// Bytes: `d`, 2 of the scales' high bits, 4 of their low halves, 128 of indices.
    pub(super) fn read_iq4_xs(&mut self, block: &[u8]) {
        self.d = half(block);
        let high_bits = u16::from_le_bytes([block[2], block[3]]);
        for group in 0..8 {
            let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
            let high = (high_bits >> (group * 2) & 3) as u8;
            self.scales[2 * group..2 * group + 2].fill((low | high << 4) as i8 - 32);
        }
        for (group, bytes) in block[8..136].chunks_exact(16).enumerate() {
            for (lane, byte) in bytes.iter().enumerate() {
                self.numbers[group * 32 + lane] = IQ4_NUMBERS[usize::from(byte & 15)];
                self.numbers[group * 32 + lane + 16] = IQ4_NUMBERS[usize::from(byte >> 4)];
            }
        }
    }

    /// `d`, `d_min`, and eight scales and minima of six bits in 12 bytes.
    fn put_six_bit_scales(&mut self, block: &[u8]) {
        (self.d, self.d_min) = (half(block), half(&block[2..]));
        let bytes = &block[4..16];
        for group in 0..8 {
            let [scale, min] = match group {
                0..4 => [bytes[group] & 63, bytes[group + 4] & 63],
                _ => [
                    bytes[group + 4] & 15 | bytes[group - 4] >> 6 << 4,
                    bytes[group + 4] >> 4 | bytes[group] >> 6 << 4,
                ],
            };
            self.scales[2 * group..2 * group + 2].fill(scale as i8);
            self.mins[2 * group..2 * group + 2].fill(min as i8);
        }
    }

    /// The numbers of four times 32 bytes: of each 32 first the low halves, then the high ones.
    fn put_long_nibbles(&mut self, bytes: &[u8], number: impl Fn(u8, usize) -> i8) {
        for (index, to) in self.numbers.chunks_exact_mut(32).enumerate() {
            let own = &bytes[index / 2 * 32..][..32];
            for (lane, to) in to.iter_mut().enumerate() {
                *to = number(own[lane] >> (index % 2 * 4) & 15, index * 32 + lane);
            }
        }
    }

    /// The numbers of twice 32 bytes: of each 32 first the lowest two bits, then the next.
    fn put_pairs(&mut self, bytes: &[u8], number: impl Fn(u8, usize) -> i8) {
        for (index, to) in self.numbers.chunks_exact_mut(32).enumerate() {
            let own = &bytes[index / 4 * 32..][..32];
            for (lane, to) in to.iter_mut().enumerate() {
                *to = number(own[lane] >> (index % 4 * 2) & 3, index * 32 + lane);
            }
        }
    }
}

const _: () = assert!(RAW_GROUP == 16, "scales are read for groups of 16");
