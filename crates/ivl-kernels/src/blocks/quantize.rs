//! Writing blocks.

use half::f16;

use super::fit::{
    Code, Iq4Code, ROUNDER, ScaleAndMin, SixSignedBits, fit_scale, fit_scale_and_min, fit_super_scale,
    refit_scales_and_mins,
};
use super::format::BlockFormat;
use super::simple_blocks::{IQ4_NUMBERS, MXFP4_NUMBERS, half_power};
use crate::cpu::{Kernel, Level, run};

/// The first number of a block that is not finite, or so large that half precision may not hold its scale or minimum.
pub(super) fn not_finite(format: BlockFormat, numbers: &[f32]) -> Option<usize> {
    let most = match format {
        BlockFormat::Mxfp4 => f32::MAX,
        _ => f16::MAX.to_f32(),
    };
    let is_bad = |number: f32| number.is_nan() || number.abs() > most;
    // A pass without a way out of it is one over vectors.
    match numbers.iter().fold(false, |found, &number| found | is_bad(number)) {
        true => numbers.iter().position(|&number| is_bad(number)),
        false => None,
    }
}

/// Writes one block; the numbers are finite.
pub(super) fn write_block(format: BlockFormat, numbers: &[f32], block: &mut [u8]) {
    match format {
        BlockFormat::Q4_0 => {
            let codes = around_zero(numbers, 8.0, block);
            put_nibbles(&codes, &mut block[2..]);
        }
        BlockFormat::Q4_1 => {
            let codes = from_minimum(numbers, 15.0, block);
            put_nibbles(&codes, &mut block[4..]);
        }
        BlockFormat::Q5_0 => {
            let codes = around_zero(numbers, 16.0, block);
            put_five_bits(&codes, &mut block[2..]);
        }
        BlockFormat::Q5_1 => {
            let codes = from_minimum(numbers, 31.0, block);
            put_five_bits(&codes, &mut block[4..]);
        }
        BlockFormat::Q8_0 => run(WriteQ8_0 { numbers, block }),
        BlockFormat::Mxfp4 => write_mxfp4(numbers, block),
        BlockFormat::Iq4Nl => write_iq4_nl(numbers, block),
        BlockFormat::Q4K => write_with_minima(numbers, 15, block, 16),
        BlockFormat::Q5K => write_with_minima(numbers, 31, block, 48),
        BlockFormat::Q6K => write_q6_k(numbers, block),
        BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Iq4Xs => {
            unreachable!("`BlockFormat::quantize` refuses what is not written")
        }
    }
}

fn put_half(number: f32, bytes: &mut [u8]) {
    bytes[..2].copy_from_slice(&f16::from_f32(number).to_le_bytes());
}

/// `1 / scale`, or zero.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Codes of a symmetric format from a scale with which the number of largest magnitude becomes `-most`.
fn around_zero(numbers: &[f32], most: f32, block: &mut [u8]) -> [u8; 32] {
    let mut largest = 0.0f32;
    for &number in numbers {
        if number.abs() > largest.abs() {
            largest = number;
        }
    }
    let scale = largest / -most;
    put_half(scale, block);
    codes(numbers, |number| number * inverse(scale) + (most + 0.5), 2.0 * most - 1.0)
}

/// Codes of a format with a minimum.
fn from_minimum(numbers: &[f32], most: f32, block: &mut [u8]) -> [u8; 32] {
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let smallest = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let scale = (largest - smallest) / most;
    put_half(scale, block);
    put_half(smallest, &mut block[2..]);
    codes(numbers, |number| (number - smallest) * inverse(scale) + 0.5, most)
}

fn codes(numbers: &[f32], position: impl Fn(f32) -> f32, most: f32) -> [u8; 32] {
    std::array::from_fn(|at| position(numbers[at]).trunc().clamp(0.0, most) as u8)
}

/// 32 codes of four bits in 16 bytes.
fn put_nibbles(codes: &[u8; 32], bytes: &mut [u8]) {
    for at in 0..16 {
        bytes[at] = codes[at] & 15 | codes[at + 16] << 4;
    }
}

/// 32 codes of five bits in 20 bytes: the fifth bits first.
fn put_five_bits(codes: &[u8; 32], bytes: &mut [u8]) {
    let fifth = codes.iter().enumerate().fold(0u32, |bits, (at, code)| bits | u32::from(code >> 4) << at);
    bytes[..4].copy_from_slice(&fifth.to_le_bytes());
    put_nibbles(codes, &mut bytes[4..]);
}

struct WriteQ8_0<'a> {
    numbers: &'a [f32],
    block: &'a mut [u8],
}

impl Kernel for WriteQ8_0<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Ok(numbers) = <&[f32; 32]>::try_from(self.numbers) else { return };
        // Magnitudes are ordered as their bits are.
        let mut most = 0;
        for number in numbers {
            most = most.max(number.abs().to_bits());
        }
        let scale = f32::from_bits(most) / 127.0;
        put_half(scale, self.block);
        let inverse = inverse(scale);
        for (number, byte) in numbers.iter().zip(&mut self.block[2..]) {
            *byte = nearest_whole(number * inverse);
        }
    }
}

/// The nearest whole number from -128 to 127, halves away from zero as [`f32::round`], in the low byte. `round` is a call of the C
/// library, and the cast to an integer checks each number by itself. The largest number below a half brings a half, and nothing less,
/// to the next whole number.
#[inline(always)]
fn nearest_whole(number: f32) -> u8 {
    ((number + 0.499_999_97f32.copysign(number)).trunc() + ROUNDER).to_bits() as u8
}

fn write_mxfp4(numbers: &[f32], block: &mut [u8]) {
    let most = numbers.iter().fold(0.0f32, |most, number| most.max(number.abs()));
    block[0] = if most > 0.0 { (most.log2().floor() - 2.0 + 127.0) as u8 } else { 0 };
    let scale = half_power(block[0]);
    let code = |number: f32| {
        let error = |code: u8| (scale * f32::from(MXFP4_NUMBERS[usize::from(code)]) - number).abs();
        (1..16).fold(0, |best, code| if error(code) < error(best) { code } else { best })
    };
    let codes = std::array::from_fn(|at| code(numbers[at]));
    put_nibbles(&codes, &mut block[1..]);
}

fn write_iq4_nl(numbers: &[f32], block: &mut [u8]) {
    let scale = fit_scale(numbers, Iq4Code);
    put_half(scale, block);
    let inverse = inverse(f16::from_f32(scale).to_f32());
    let code = |number: f32| {
        let nearest = Iq4Code.nearest(number * inverse);
        IQ4_NUMBERS.iter().position(|&entry| f32::from(entry) == nearest).expect("an entry") as u8
    };
    let codes = std::array::from_fn(|at| code(numbers[at]));
    put_nibbles(&codes, &mut block[2..]);
}

fn write_q6_k(numbers: &[f32], block: &mut [u8]) {
    let groups = numbers.chunks_exact(16);
    let scales: Vec<f32> = groups.clone().map(|group| fit_scale(group, SixSignedBits)).collect();
    let (d, scales) = fit_super_scale(numbers, &scales, SixSignedBits);
    put_half(d, &mut block[208..]);
    let d = f16::from_f32(d).to_f32();
    block[..192].fill(0);
    for (group, numbers) in groups.enumerate() {
        block[192 + group] = scales[group] as u8;
        let inverse = inverse(d * f32::from(scales[group]));
        for (lane, number) in numbers.iter().enumerate() {
            let (at, code) = (group * 16 + lane, (SixSignedBits.nearest(number * inverse) + 32.0) as u8);
            let (part, quarter, lane) = (at / 128, at % 128 / 32, at % 32);
            block[part * 64 + quarter % 2 * 32 + lane] |= (code & 15) << (quarter / 2 * 4);
            block[128 + part * 32 + lane] |= (code >> 4) << (quarter * 2);
        }
    }
}

/// Q4_K and Q5_K: codes up to `most`, the low halves from byte `low` on.
fn write_with_minima(numbers: &[f32], most: u8, block: &mut [u8], low: usize) {
    let groups = numbers.chunks_exact(32);
    let fits: Vec<ScaleAndMin> = groups.map(|group| fit_scale_and_min(group, f32::from(most))).collect();
    let fit = refit_scales_and_mins(numbers, &fits, f32::from(most));
    put_half(fit.d, block);
    put_half(fit.d_min, &mut block[2..]);
    block[4..].fill(0);
    for group in 0..8 {
        let (scale, min) = (fit.scales[group], fit.mins[group]);
        if group < 4 {
            block[4 + group] |= scale;
            block[8 + group] |= min;
        } else {
            block[8 + group] |= scale & 15 | (min & 15) << 4;
            block[group] |= scale >> 4 << 6;
            block[4 + group] |= min >> 4 << 6;
        }
    }
    for (at, code) in fit.codes.iter().enumerate() {
        block[low + at / 64 * 32 + at % 32] |= (code & 15) << (at % 64 / 32 * 4);
        if most > 15 {
            block[16 + at % 32] |= (code >> 4) << (at / 32);
        }
    }
}
