//! The exponential function, in a form that the compiler turns into vector instructions.

use crate::cpu::{LANES, Level, each};

/// `exp(x)` with an error of two units in the last place; zero below -87.3, where single precision loses digits.
#[inline(always)]
pub(crate) fn exp<L: Level>(x: [f32; LANES]) -> [f32; LANES] {
    /// Added to a number below 2^22, rounds it to an integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Cephes, expf.
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    each(|lane| {
        let clamped = x[lane].clamp(-87.3, 88.7);
        let shifted = L::fma_one(clamped, std::f32::consts::LOG2_E, ROUND);
        let whole = shifted - ROUND;
        let rest = L::fma_one(whole, -LN_2[1], L::fma_one(whole, -LN_2[0], clamped));
        let mut series = POLYNOMIAL[0];
        for coefficient in &POLYNOMIAL[1..] {
            series = L::fma_one(series, rest, *coefficient);
        }
        let series = L::fma_one(series, rest * rest, rest) + 1.0;
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
        if x[lane] < -87.3 { 0.0 } else { series * power }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Kernel, run};

    #[test]
    fn agrees_with_double_precision() {
        struct Exp<'a>([f32; LANES], &'a mut [f32; LANES]);
        impl Kernel for Exp<'_> {
            #[inline(always)]
            fn run<L: Level>(self) {
                *self.1 = exp::<L>(self.0);
            }
        }
        for start in (-8800..8800).step_by(LANES) {
            let x: [f32; LANES] = std::array::from_fn(|lane| (start + lane as i32) as f32 * 0.01003);
            let mut got = [0.0; LANES];
            run(Exp(x, &mut got));
            for (x, got) in x.into_iter().zip(got).filter(|(x, _)| x.abs() < 87.2) {
                let expected = f64::from(x).exp();
                assert!((f64::from(got) / expected - 1.0).abs() < 2.5e-7, "exp({x}) = {got}, not {expected}");
            }
        }
        let mut got = [0.0; LANES];
        run(Exp([f32::NEG_INFINITY; LANES], &mut got));
        assert_eq!(got, [0.0; LANES]);
    }
}
