//! Scales and minima that minimise the squared error of a block.

use half::f16;

/// Steps of the search on each side of the scale with which the largest number just fits.
const STEPS: i32 = 12;

/// Width of a step, in units of the code.
const STEP: f32 = 0.15;

/// Rounds in which codes and scales are fitted to each other.
const ROUNDS: usize = 3;

/// The scale `s` that minimises `sum (x - s round(x / s))^2`; `ends` are the outermost numbers of the code.
pub(super) fn fit_scale(numbers: &[f32], ends: [f32; 2], round: impl Fn(f32) -> f32) -> f32 {
    let mut largest = 0.0f32;
    for &number in numbers {
        if number.abs() > largest.abs() {
            largest = number;
        }
    }
    if largest == 0.0 {
        return 0.0;
    }
    let mut best = (0.0f64, 0.0f64);
    // The largest number may fall on either end: the sign of the scale is free.
    for end in ends {
        for step in -STEPS..=STEPS {
            let mut inverse = (end + end.signum() * STEP * step as f32) / largest;
            for _ in 0..ROUNDS {
                let (mut xq, mut qq) = (0.0f64, 0.0f64);
                for &x in numbers {
                    let q = f64::from(round(x * inverse));
                    xq += f64::from(x) * q;
                    qq += q * q;
                }
                // The error is sum x^2 - xq^2 / qq.
                if qq == 0.0 || xq * xq / qq <= best.0 {
                    break;
                }
                best = (xq * xq / qq, xq / qq);
                inverse = (qq / xq) as f32;
                if !inverse.is_finite() {
                    break;
                }
            }
        }
    }
    best.1 as f32
}

/// A scale of the whole block and whole scales of its groups of 16, between -128 and 127 times the whole, from the best scale of
/// each group.
pub(super) fn fit_super_scale(numbers: &[f32], scales: &[f32], round: impl Fn(f32) -> f32) -> (f32, Vec<i8>) {
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
                let q = if own == 0.0 { 0.0 } else { round(x / own) };
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
    let largest = numbers.iter().copied().fold(0.0, f32::max);
    let smallest = numbers.iter().copied().fold(0.0, f32::min);
    if largest == smallest {
        return ScaleAndMin::default();
    }
    let mut best = (f64::INFINITY, ScaleAndMin::default());
    for step in -STEPS..=STEPS {
        let scale = (largest - smallest) / (most + STEP * step as f32);
        let mut fit = ScaleAndMin { scale, min: -smallest };
        for _ in 0..ROUNDS {
            let (error, next) = refit(numbers, fit, most);
            if error >= best.0 {
                break;
            }
            best = (error, next);
            fit = next;
        }
    }
    best.1
}

/// Codes by a scale and a minimum; the best scale and minimum for these codes, and the error with them.
fn refit(numbers: &[f32], fit: ScaleAndMin, most: f32) -> (f64, ScaleAndMin) {
    let [mut x1, mut xx, mut q1, mut qq, mut xq] = [0.0f64; 5];
    for &x in numbers {
        let q = f64::from(code(x, fit.scale, fit.min, most));
        let x = f64::from(x);
        (x1, xx, q1, qq, xq) = (x1 + x, xx + x * x, q1 + q, qq + q * q, xq + x * q);
    }
    let n = numbers.len() as f64;
    let divisor = n * qq - q1 * q1;
    let (mut scale, mut min) = (0.0, 0.0);
    if divisor > 0.0 {
        scale = (n * xq - x1 * q1) / divisor;
        min = (q1 * xq - qq * x1) / divisor;
    }
    if min < 0.0 || divisor <= 0.0 {
        (scale, min) = (if qq > 0.0 { xq / qq } else { 0.0 }, 0.0);
    }
    let error =
        xx - 2.0 * scale * xq + 2.0 * min * x1 + scale * scale * qq - 2.0 * scale * min * q1 + n * min * min;
    (error, ScaleAndMin { scale: scale as f32, min: min as f32 })
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
