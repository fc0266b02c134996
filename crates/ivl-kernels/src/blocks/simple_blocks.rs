//! Reading the blocks of 32 weights.

use super::raw_block::{RawBlock, half};

/// The numbers that the indices of IQ4_NL and IQ4_XS stand for.
pub(crate) const IQ4_NUMBERS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the numbers that the four-bit floats of MXFP4 stand for.
pub(crate) const MXFP4_NUMBERS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl RawBlock {
    pub(super) fn read_q4_0(&mut self, block: &[u8]) {
        self.d = half(block);
        self.put_nibbles(&block[2..], |nibble, _| nibble as i8 - 8);
    }

    pub(super) fn read_q4_1(&mut self, block: &[u8]) {
        self.put_scale_and_min(block);
        self.put_nibbles(&block[4..], |nibble, _| nibble as i8);
    }

    pub(super) fn read_q5_0(&mut self, block: &[u8]) {
        self.d = half(block);
        let high = high_bits(&block[2..6]);
        self.put_nibbles(&block[6..], |nibble, at| (nibble | high(at)) as i8 - 16);
    }

    pub(super) fn read_q5_1(&mut self, block: &[u8]) {
        self.put_scale_and_min(block);
        let high = high_bits(&block[4..8]);
        self.put_nibbles(&block[8..], |nibble, at| (nibble | high(at)) as i8);
    }

    pub(super) fn read_q8_0(&mut self, block: &[u8]) {
        self.d = half(block);
        for (number, byte) in self.numbers.iter_mut().zip(&block[2..]) {
            *number = *byte as i8;
        }
    }

    pub(super) fn read_iq4_nl(&mut self, block: &[u8]) {
        self.d = half(block);
        self.put_nibbles(&block[2..], |nibble, _| IQ4_NUMBERS[usize::from(nibble)]);
    }

    pub(super) fn read_mxfp4(&mut self, block: &[u8]) {
        self.d = half_power(block[0]);
        self.put_nibbles(&block[1..], |nibble, _| MXFP4_NUMBERS[usize::from(nibble)]);
    }

    /// `d`, and the number that is added to each weight.
    fn put_scale_and_min(&mut self, block: &[u8]) {
        (self.d, self.d_min, self.mins) = (half(block), -half(&block[2..]), [1; 16]);
    }

    /// The numbers of 16 bytes: first the low halves of all, then the high ones.
    fn put_nibbles(&mut self, bytes: &[u8], number: impl Fn(u8, usize) -> i8) {
        for (at, byte) in bytes[..16].iter().enumerate() {
            self.numbers[at] = number(byte & 15, at);
            self.numbers[at + 16] = number(byte >> 4, at + 16);
        }
    }
}

/// The fifth bit of each number, in its place.
fn high_bits(bytes: &[u8]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    move |at| ((bits >> at & 1) << 4) as u8
}

/// `2^(exponent - 128)`: half of what the exponent of MXFP4 means, since the numbers are doubled.
pub(super) fn half_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 => 0x0020_0000,
        exponent => match u32::from(exponent) - 1 {
            0 => 0x0040_0000,
            power => power << 23,
        },
    })
}
