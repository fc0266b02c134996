//! Scales and minima that minimise the squared error of a block.

use half::f16;

use super::simple_blocks::IQ4_NUMBERS;
use crate::cpu::{Kernel, Level, run, sum};

/// Steps of the search on each side of the scale with which the largest number just fits.
const STEPS: i32 = 12;

/// Width of a step, in units of the code.
const STEP: f32 = 0.15;

/// Rounds in which codes and scales are fitted to each other.
const ROUNDS: usize = 3;

/// Numbers whose sums are formed side by side.
const LANES: usize = 16;

/// Added to a number of at most 2^21, and subtracted again, it rounds to the nearest whole number, half to even. Before it is
/// subtracted, the low bits of the sum are those of the whole number.
pub(super) const ROUNDER: f32 = (3u32 << 22) as f32;

/// A code: the numbers that the multiples of a scale may be.
pub(super) trait Code: Copy {
    /// The outermost numbers.
    const ENDS: [f32; 2];

    /// The nearest number of the code.
    fn nearest(self, number: f32) -> f32;
}

/// The whole numbers from -32 to 31.
#[derive(Debug, Clone, Copy)]
pub(super) struct SixSignedBits;

impl Code for SixSignedBits {
    const ENDS: [f32; 2] = [-32.0, 31.0];

    #[inline(always)]
    fn nearest(self, number: f32) -> f32 {
        whole(number, -32.0, 31.0)
    }
}

/// The numbers of IQ4_NL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Iq4Code;

impl Code for Iq4Code {
    const ENDS: [f32; 2] = [-127.0, 113.0];

    #[inline(always)]
    fn nearest(self, number: f32) -> f32 {
        let mut nearest = f32::from(IQ4_NUMBERS[0]);
        for at in 1..IQ4_NUMBERS.len() {
            let [below, above] = [f32::from(IQ4_NUMBERS[at - 1]), f32::from(IQ4_NUMBERS[at])];
            nearest += if number >= (below + above) * 0.5 { above - below } else { 0.0 };
        }
        nearest
    }
}

/// The nearest whole number in a range.
#[inline(always)]
fn whole(number: f32, least: f32, most: f32) -> f32 {
    let number = if number > least { number } else { least };
    let number = if number < most { number } else { most };
    number + ROUNDER - ROUNDER
}

/// The scale `s` that minimises `sum (x - s nearest(x / s))^2`.
pub(super) fn fit_scale<C: Code>(numbers: &[f32], code: C) -> f32 {
    let mut scale = 0.0;
    run(FitScale { numbers, code, scale: &mut scale });
    scale
}

struct FitScale<'a, C> {
    numbers: &'a [f32],
    code: C,
    scale: &'a mut f32,
}

impl<C: Code> Kernel for FitScale<'_, C> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let mut largest = 0.0f32;
        for &number in self.numbers {
            if number.abs() > largest.abs() {
                largest = number;
            }
        }
        if largest == 0.0 {
            return;
        }
        let mut best = 0.0;
        // The largest number may fall on either end: the sign of the scale is free.
        for end in C::ENDS {
            for step in -STEPS..=STEPS {
                let mut inverse = (end + STEP * end.abs() / 32.0 * step as f32) / largest;
                for _ in 0..ROUNDS {
                    let [xq, qq] = self.sums(inverse);
                    // The error is sum x^2 - xq^2 / qq.
                    let gain = xq * xq / qq;
                    if gain.is_nan() || gain <= best {
                        break;
                    }
                    (best, *self.scale) = (gain, xq / qq);
                    inverse = qq / xq;
                }
            }
        }
    }
}

impl<C: Code> FitScale<'_, C> {
    /// `sum x q` and `sum q^2`, with the codes `q` of a scale.
    #[inline(always)]
    fn sums(&self, inverse: f32) -> [f32; 2] {
        let [mut xq, mut qq] = [[0.0; LANES]; 2];
        for numbers in self.numbers.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let (x, q) = (numbers[lane], self.code.nearest(numbers[lane] * inverse));
                xq[lane] += x * q;
                qq[lane] += q * q;
            }
        }
        [sum(xq), sum(qq)]
    }
}

/// A scale of the whole block and whole scales of its groups of 16, between -128 and 127 times the whole, from the best scale of
/// each group.
pub(super) fn fit_super_scale<C: Code>(numbers: &[f32], scales: &[f32], code: C) -> (f32, Vec<i8>) {
    let mut largest = 0.0f32;
    for &scale in scales {
        if scale.abs() > largest.abs() {
            largest = scale;
        }
    }
    let mut d = f16::from_f32(largest / -128.0).to_f32();
    let mut whole = whole_scales(scales, d);
    let mut best = (f64::INFINITY, d, whole.clone());
    for _ in 0..ROUNDS {
        let (mut xq, mut qq, mut error) = (0.0f64, 0.0f64, 0.0f64);
        for (group, &scale) in numbers.chunks_exact(16).zip(&whole) {
            let own = d * f32::from(scale);
            for &x in group {
                let q = if own == 0.0 { 0.0 } else { code.nearest(x / own) };
                let number = f64::from(q * f32::from(scale));
                xq += f64::from(x) * number;
                qq += number * number;
                error += (f64::from(x) - f64::from(d) * number).powi(2);
            }
        }
        if error < best.0 {
            best = (error, d, whole.clone());
        }
        if qq == 0.0 {
            break;
        }
        d = f16::from_f32((xq / qq) as f32).to_f32();
        whole = whole_scales(scales, d);
    }
    (best.1, best.2)
}

fn whole_scales(scales: &[f32], d: f32) -> Vec<i8> {
    let whole = |scale: &f32| if d == 0.0 { 0 } else { (scale / d).round().clamp(-128.0, 127.0) as i8 };
    scales.iter().map(whole).collect()
}

/// `x` is about `scale * code - min`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScaleAndMin {
    scale: f32,
    min: f32,
}

/// The scale and the minimum, both not negative, that minimise the squared error with codes from 0 to `most`.
pub(super) fn fit_scale_and_min(numbers: &[f32], most: f32) -> ScaleAndMin {
    let mut fit = ScaleAndMin::default();
    run(FitScaleAndMin { numbers, most, fit: &mut fit });
    fit
}

struct FitScaleAndMin<'a> {
    numbers: &'a [f32],
    most: f32,
    fit: &'a mut ScaleAndMin,
}

impl Kernel for FitScaleAndMin<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let [mut largest, mut smallest] = [0.0f32; 2];
        for &number in self.numbers {
            largest = if number > largest { number } else { largest };
            smallest = if number < smallest { number } else { smallest };
        }
        if largest == smallest {
            return;
        }
        let mut least = f32::INFINITY;
        for step in -STEPS..=STEPS {
            let scale = (largest - smallest) / (self.most + STEP * step as f32);
            let mut fit = ScaleAndMin { scale, min: -smallest };
            for _ in 0..ROUNDS {
                let (error, next) = self.refit(fit);
                if error.is_nan() || error >= least {
                    break;
                }
                (least, fit) = (error, next);
                *self.fit = next;
            }
        }
    }
}

impl FitScaleAndMin<'_> {
    /// Codes by a scale and a minimum; the error with the best scale and minimum for these codes, and those.
    #[inline(always)]
    fn refit(&self, fit: ScaleAndMin) -> (f32, ScaleAndMin) {
        let inverse = 1.0 / fit.scale;
        let [mut x1, mut xx, mut q1, mut qq, mut xq] = [[0.0; LANES]; 5];
        for numbers in self.numbers.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let x = numbers[lane];
                let q = whole((x + fit.min) * inverse, 0.0, self.most);
                x1[lane] += x;
                xx[lane] += x * x;
                q1[lane] += q;
                qq[lane] += q * q;
                xq[lane] += x * q;
            }
        }
        let [x1, xx, q1, qq, xq] = [sum(x1), sum(xx), sum(q1), sum(qq), sum(xq)];
        let n = self.numbers.len() as f32;
        let divisor = n * qq - q1 * q1;
        let (mut scale, mut min) = (0.0, 0.0);
        if divisor > 0.0 {
            scale = (n * xq - x1 * q1) / divisor;
            min = (q1 * xq - qq * x1) / divisor;
        }
        if min < 0.0 || divisor <= 0.0 {
            (scale, min) = (if qq > 0.0 { xq / qq } else { 0.0 }, 0.0);
        }
        // By the normal equations the error is what the fit does not explain.
        let error = xx - scale * xq + min * x1;
        (error, ScaleAndMin { scale, min })
    }
}

fn code(x: f32, scale: f32, min: f32, most: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { ((x + min) / scale).round_ties_even().clamp(0.0, most) }
}

/// A block whose groups of 32 have scales and minima of six bits.
#[derive(Debug, Clone)]
pub(super) struct SixBitFit {
    pub(super) d: f32,
    pub(super) d_min: f32,
    pub(super) scales: [u8; 8],
    pub(super) mins: [u8; 8],
    pub(super) codes: [u8; 256],
}

/// Six-bit scales and minima from those of each group, with the best `d` and `d_min`.
pub(super) fn refit_scales_and_mins(numbers: &[f32], fits: &[ScaleAndMin], most: f32) -> SixBitFit {
    let largest = |part: fn(&ScaleAndMin) -> f32| fits.iter().map(part).fold(0.0, f32::max);
    let mut d = f16::from_f32(largest(|fit| fit.scale) / 63.0).to_f32();
    let mut d_min = f16::from_f32(largest(|fit| fit.min) / 63.0).to_f32();
    let mut best = None;
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let fit = SixBitFit::new(numbers, fits, [d, d_min], most);
        let (error, next) = fit.refit(numbers);
        if error < least {
            (least, best) = (error, Some(fit));
        }
        [d, d_min] = next.map(|number| f16::from_f32(number.max(0.0)).to_f32());
    }
    // Not reached: an error is finite, since the numbers are.
    best.unwrap_or_else(|| SixBitFit::new(numbers, fits, [d, d_min], most))
}

impl SixBitFit {
    fn new(numbers: &[f32], fits: &[ScaleAndMin], [d, d_min]: [f32; 2], most: f32) -> Self {
        let whole = |number: f32, unit: f32| match unit {
            0.0 => 0,
            unit => (number / unit).round().clamp(0.0, 63.0) as u8,
        };
        let mut fit = Self { d, d_min, scales: [0; 8], mins: [0; 8], codes: [0; 256] };
        for (group, (numbers, own)) in numbers.chunks_exact(32).zip(fits).enumerate() {
            // Neighbours of the rounded scale, since rounding the minimum shifts what is best.
            let (middle, min) = (whole(own.scale, d), whole(own.min, d_min));
            let mut least = f64::INFINITY;
            for scale in middle.saturating_sub(1)..=(middle + 1).min(63) {
                for min in min.saturating_sub(1)..=(min + 1).min(63) {
                    let [own_scale, own_min] = [d * f32::from(scale), d_min * f32::from(min)];
                    let mut codes = [0; 32];
                    let mut error = 0.0;
                    for (x, to) in numbers.iter().zip(&mut codes) {
                        let code = code(*x, own_scale, own_min, most);
                        *to = code as u8;
                        error += f64::from(own_scale * code - own_min - x).powi(2);
                    }
                    if error < least {
                        least = error;
                        (fit.scales[group], fit.mins[group]) = (scale, min);
                        fit.codes[group * 32..][..32].copy_from_slice(&codes);
                    }
                }
            }
        }
        fit
    }

    /// The squared error, and the `d` and `d_min` that minimise it with these whole numbers.
    fn refit(&self, numbers: &[f32]) -> (f64, [f32; 2]) {
        // x is about d a - d_min b.
        let [mut aa, mut ab, mut bb, mut xa, mut xb, mut error] = [0.0f64; 6];
        for (at, &x) in numbers.iter().enumerate() {
            let a = f64::from(self.scales[at / 32]) * f64::from(self.codes[at]);
            let (b, x) = (f64::from(self.mins[at / 32]), f64::from(x));
            (aa, ab, bb, xa, xb) = (aa + a * a, ab + a * b, bb + b * b, xa + x * a, xb + x * b);
            error += (f64::from(self.d) * a - f64::from(self.d_min) * b - x).powi(2);
        }
        let divisor = aa * bb - ab * ab;
        if divisor > 0.0 {
            let [d, d_min] = [(xa * bb - xb * ab) / divisor, (xa * ab - xb * aa) / divisor];
            return (error, [d as f32, d_min as f32]);
        }
        (error, [if aa > 0.0 { (xa / aa) as f32 } else { 0.0 }, self.d_min])
    }
}
