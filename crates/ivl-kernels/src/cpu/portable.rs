//! Levels whose lanes are plain arrays: the compiler makes vectors of them.

use super::level::{LANES, Level};

/// The shared part of the levels of plain arrays: all of [`Level`] except `fma_one`, `widen_f16` and `widen_bytes`.
macro_rules! array_lanes {
    () => {
        type Lanes = [f32; LANES];
        type HalfLanes = [f32; LANES / 2];
        const ROWS: usize = 3;

        #[inline(always)]
        fn load(numbers: &[f32; LANES]) -> [f32; LANES] {
            *numbers
        }

        #[inline(always)]
        fn store(lanes: [f32; LANES]) -> [f32; LANES] {
            lanes
        }

        #[inline(always)]
        fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
            let mut sums = c;
            for lane in 0..LANES {
                sums[lane] = Self::fma_one(a[lane], b[lane], c[lane]);
            }
            sums
        }

        #[inline(always)]
        fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
            let mut sums = a;
            for lane in 0..LANES {
                sums[lane] += b[lane];
            }
            sums
        }

        #[inline(always)]
        fn fold_lanes(lanes: [f32; LANES]) -> [f32; LANES / 2] {
            let mut half = [0.0; LANES / 2];
            for lane in 0..LANES / 2 {
                half[lane] = lanes[lane] + lanes[lane + LANES / 2];
            }
            half
        }

        #[inline(always)]
        fn sum_lanes(halves: [[f32; LANES / 2]; 16]) -> [f32; 16] {
            let mut sums = [0.0; 16];
            for index in 0..16 {
                sums[index] = $crate::cpu::level::sum(halves[index]);
            }
            sums
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use array_lanes;

/// The compiler's vectors for its target, from plain loops.
pub(super) struct Portable;

impl Level for Portable {
    array_lanes!();

    #[inline(always)]
    fn fma_one(a: f32, b: f32, c: f32) -> f32 {
        // Every 64-bit ARM has the fused one; elsewhere it may be a call of the C library.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn widen_f16(halves: &[u16; LANES]) -> [f32; LANES] {
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        return super::neon::widen_f16(halves);
        #[cfg(not(all(target_arch = "aarch64", target_feature = "neon")))]
        super::level::each(|lane| half::f16::from_bits(halves[lane]).to_f32())
    }

    #[inline(always)]
    fn widen_bytes(bytes: &[i8; LANES]) -> [f32; LANES] {
        super::level::each(|lane| f32::from(bytes[lane]))
    }
}
