//! Levels of 64-bit ARM for whole numbers: sums of four products (FEAT_DotProd), and products of matrices of bytes (FEAT_I8MM).
//!
//! Stable Rust has no intrinsics for these instructions, so that they are assembly. It names the extension that it needs: a closure
//! that the compiler does not inline in the kernel is compiled for the target.
#![expect(unsafe_code, reason = "instructions beyond the target's are used only after detecting them")]

use std::arch::aarch64::{
    float16x4_t, float32x4_t, int8x8_t, int8x16_t, int32x4_t, uint8x16_t, uint16x4_t, vandq_u8, vcombine_s8,
    vcvt_f32_f16, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, veorq_u8, vfmaq_f32,
    vget_high_s8, vget_high_s16, vget_low_s8, vget_low_s16, vmovl_s8, vmovl_s16, vmulq_f32, vorrq_u8,
    vqtbl1q_u8, vreinterpretq_f32_u32, vreinterpretq_s8_s32, vreinterpretq_s8_u8, vshll_n_u16, vshlq_u8,
    vshrq_n_u8, vsubq_s8, vzip1q_s32, vzip2q_s32,
};
use std::arch::{asm, is_aarch64_feature_detected};
use std::mem::transmute;

use super::detected::Detected;
use super::integer_level::{
    CodeBytes, INPUTS, IntegerKernel, IntegerLevel, OUTPUTS, PortableIntegers, TILE_ROWS, TileSums,
};

/// Vectors that have a number for each output.
const VECTORS: usize = OUTPUTS / 4;

/// Adds to each sum four products of neighbouring bytes.
///
/// # Safety
/// The processor needs FEAT_DotProd.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller has detected the instruction, which reads and writes registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Adds the products of two rows of eight bytes with two others: those of the first row, then those of the second.
///
/// # Safety
/// The processor needs FEAT_I8MM.
#[inline(always)]
unsafe fn smmla(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller has detected the instruction, which reads and writes registers only.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// The shared part of the levels: all of [`IntegerLevel`] except tiles.
macro_rules! neon_vectors {
    ($rows:literal) => {
        type Codes = [uint8x16_t; VECTORS];
        type Sums = [int32x4_t; VECTORS];
        type Floats = [float32x4_t; VECTORS];
        const ROWS: usize = $rows;
        const BYTE_OFFSET: i32 = 0;

        #[inline(always)]
        fn codes(bytes: &CodeBytes) -> Self::Codes {
            // SAFETY: arrays and vectors are the same bits.
            unsafe { transmute(*bytes) }
        }

        #[inline(always)]
        fn low(mut codes: Self::Codes) -> Self::Codes {
            // SAFETY: the target has NEON.
            unsafe {
                for at in 0..VECTORS {
                    codes[at] = vandq_u8(codes[at], vdupq_n_u8(15));
                }
            }
            codes
        }

        #[inline(always)]
        fn high(mut codes: Self::Codes) -> Self::Codes {
            // SAFETY: the target has NEON.
            unsafe {
                for at in 0..VECTORS {
                    codes[at] = vshrq_n_u8::<4>(codes[at]);
                }
            }
            codes
        }

        #[inline(always)]
        fn merge(mut codes: Self::Codes, planes: Self::Codes, shift: i32, mask: u8) -> Self::Codes {
            // SAFETY: the target has NEON.
            unsafe {
                let (shift, mask) = (vdupq_n_s8(shift as i8), vdupq_n_u8(mask));
                for at in 0..VECTORS {
                    codes[at] = vorrq_u8(codes[at], vandq_u8(vshlq_u8(planes[at], shift), mask));
                }
            }
            codes
        }

        #[inline(always)]
        fn look_up(table: &[u8; 16], mut codes: Self::Codes) -> Self::Codes {
            // SAFETY: the target has NEON; arrays and vectors are the same bits.
            unsafe {
                let table: uint8x16_t = transmute(*table);
                for at in 0..VECTORS {
                    codes[at] = vqtbl1q_u8(table, vandq_u8(codes[at], vdupq_n_u8(15)));
                }
            }
            codes
        }

        #[inline(always)]
        fn add_products(mut sums: Self::Sums, codes: Self::Codes, x: [i8; INPUTS]) -> Self::Sums {
            // SAFETY: only `run` leads here, which has detected the instruction. Codes below 64 have the same bits with a sign.
            unsafe {
                let x = vreinterpretq_s8_s32(vdupq_n_s32(transmute::<[i8; INPUTS], i32>(x)));
                for at in 0..VECTORS {
                    sums[at] = sdot(sums[at], vreinterpretq_s8_u8(codes[at]), x);
                }
            }
            sums
        }

        #[inline(always)]
        fn add_bytes(sums: Self::Sums, mut codes: Self::Codes, x: [i8; INPUTS]) -> Self::Sums {
            // SAFETY: the target has NEON. A code less 128 changes only its first bit.
            unsafe {
                for at in 0..VECTORS {
                    codes[at] = veorq_u8(codes[at], vdupq_n_u8(128));
                }
            }
            Self::add_products(sums, codes, x)
        }

        #[inline(always)]
        fn splat_sum(number: i32) -> Self::Sums {
            // SAFETY: the target has NEON.
            unsafe { [vdupq_n_s32(number); VECTORS] }
        }

        #[inline(always)]
        fn to_floats(sums: Self::Sums) -> Self::Floats {
            let mut floats = Self::splat(0.0);
            for at in 0..VECTORS {
                // SAFETY: the target has NEON.
                floats[at] = unsafe { vcvtq_f32_s32(sums[at]) };
            }
            floats
        }

        #[inline(always)]
        fn splat(number: f32) -> Self::Floats {
            // SAFETY: the target has NEON.
            unsafe { [vdupq_n_f32(number); VECTORS] }
        }

        #[inline(always)]
        fn multiply(mut a: Self::Floats, b: Self::Floats) -> Self::Floats {
            for at in 0..VECTORS {
                // SAFETY: the target has NEON.
                a[at] = unsafe { vmulq_f32(a[at], b[at]) };
            }
            a
        }

        #[inline(always)]
        fn fma(a: Self::Floats, b: Self::Floats, mut c: Self::Floats) -> Self::Floats {
            for at in 0..VECTORS {
                // SAFETY: the target has NEON.
                c[at] = unsafe { vfmaq_f32(c[at], a[at], b[at]) };
            }
            c
        }

        #[inline(always)]
        fn widen_halves(halves: [u16; OUTPUTS]) -> Self::Floats {
            // SAFETY: the target has NEON; arrays and vectors are the same bits.
            unsafe {
                let [a, b, c, d]: [float16x4_t; VECTORS] = transmute(halves);
                [vcvt_f32_f16(a), vcvt_f32_f16(b), vcvt_f32_f16(c), vcvt_f32_f16(d)]
            }
        }

        #[inline(always)]
        fn widen_bfloats(halves: [u16; OUTPUTS]) -> Self::Floats {
            let mut floats = Self::splat(0.0);
            // SAFETY: the target has NEON; arrays and vectors are the same bits.
            unsafe {
                let halves: [uint16x4_t; VECTORS] = transmute(halves);
                for at in 0..VECTORS {
                    floats[at] = vreinterpretq_f32_u32(vshll_n_u16::<16>(halves[at]));
                }
            }
            floats
        }

        #[inline(always)]
        fn widen_bytes(bytes: [i8; OUTPUTS]) -> Self::Floats {
            // SAFETY: the target has NEON; arrays and vectors are the same bits.
            unsafe {
                let bytes: int8x16_t = transmute(bytes);
                let [low, high] = [vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes))];
                Self::to_floats([
                    vmovl_s16(vget_low_s16(low)),
                    vmovl_s16(vget_high_s16(low)),
                    vmovl_s16(vget_low_s16(high)),
                    vmovl_s16(vget_high_s16(high)),
                ])
            }
        }

        #[inline(always)]
        fn store(floats: Self::Floats) -> [f32; OUTPUTS] {
            // SAFETY: arrays and vectors are the same bits.
            unsafe { transmute(floats) }
        }
    };
}

/// Sums of four products.
struct DotProducts;

impl IntegerLevel for DotProducts {
    neon_vectors!(4);
}

/// The same, and products of matrices for many rows.
struct MatrixProducts;

impl IntegerLevel for MatrixProducts {
    // Four fit the registers. But blocks of rows have 1, 4, 8 or those of a tile, and more than four are fewer than a tile's.
    neon_vectors!(8);

    fn has_tiles() -> bool {
        true
    }

    #[inline(always)]
    fn signed(codes: Self::Codes, offset: i32) -> [i8; OUTPUTS * INPUTS] {
        // SAFETY: the target has NEON; arrays and vectors are the same bits.
        unsafe {
            let mut signed = [vdupq_n_s8(0); VECTORS];
            for at in 0..VECTORS {
                signed[at] = vsubq_s8(vreinterpretq_s8_u8(codes[at]), vdupq_n_s8(offset as i8));
            }
            transmute(signed)
        }
    }

    #[inline(always)]
    fn load_sums(sums: &[i32; OUTPUTS]) -> Self::Sums {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(*sums) }
    }

    #[inline(always)]
    fn multiply_tile<const N: usize>(x: &[i8], stride: usize, codes: &[i8], sums: &mut TileSums, _odd: bool) {
        for first_row in (0..TILE_ROWS).step_by(2 * PAIRS) {
            for first_output in (0..OUTPUTS).step_by(2 * PAIRS) {
                // SAFETY: only `run` leads here, which has detected the instruction.
                unsafe { multiply_pairs::<N>(x, stride, codes, sums, [first_row, first_output]) };
            }
        }
    }
}

/// Pairs of rows, and pairs of outputs, whose sums the registers hold.
const PAIRS: usize = 4;

/// The products of eight rows with the codes of eight outputs.
///
/// # Safety
/// The processor needs FEAT_I8MM.
#[inline(always)]
unsafe fn multiply_pairs<const N: usize>(
    x: &[i8],
    stride: usize,
    codes: &[i8],
    sums: &mut TileSums,
    [first_row, first_output]: [usize; 2],
) {
    // SAFETY: the caller has detected the instruction; arrays and vectors are the same bits.
    unsafe {
        let mut all = [[vdupq_n_s32(0); PAIRS]; PAIRS];
        for input in (0..N).step_by(2 * INPUTS) {
            let mut rows = [vdupq_n_s8(0); PAIRS];
            for pair in 0..PAIRS {
                let at = (first_row + 2 * pair) * stride + input;
                rows[pair] = vcombine_s8(eight(x, at), eight(x, at + stride));
            }
            // Two steps of four inputs become eight inputs of each output.
            let mut outputs = [vdupq_n_s8(0); PAIRS];
            for two in 0..PAIRS / 2 {
                let at = input * OUTPUTS + (first_output + 4 * two) * INPUTS;
                let [near, far] = [sixteen(codes, at), sixteen(codes, at + OUTPUTS * INPUTS)];
                outputs[2 * two] = vreinterpretq_s8_s32(vzip1q_s32(near, far));
                outputs[2 * two + 1] = vreinterpretq_s8_s32(vzip2q_s32(near, far));
            }
            for pair in 0..PAIRS {
                for output in 0..PAIRS {
                    all[pair][output] = smmla(all[pair][output], rows[pair], outputs[output]);
                }
            }
        }
        for pair in 0..PAIRS {
            for output in 0..PAIRS {
                let [near, far]: [[i32; 2]; 2] = transmute(all[pair][output]);
                let (row, at) = (first_row + 2 * pair, first_output + 2 * output);
                sums.0[row][at..at + 2].copy_from_slice(&near);
                sums.0[row + 1][at..at + 2].copy_from_slice(&far);
            }
        }
    }
}

#[inline(always)]
fn eight(bytes: &[i8], at: usize) -> int8x8_t {
    let bytes: [i8; 8] = bytes[at..at + 8].try_into().expect("eight bytes");
    // SAFETY: arrays and vectors are the same bits.
    unsafe { transmute(bytes) }
}

#[inline(always)]
fn sixteen(bytes: &[i8], at: usize) -> int32x4_t {
    let bytes: [i8; 16] = bytes[at..at + 16].try_into().expect("sixteen bytes");
    // SAFETY: arrays and vectors are the same bits.
    unsafe { transmute(bytes) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CpuIntegers {
    Portable,
    DotProducts,
    MatrixProducts,
}

fn cpu_integers() -> CpuIntegers {
    static LEVEL: Detected = Detected::new();
    let all = [CpuIntegers::Portable, CpuIntegers::DotProducts, CpuIntegers::MatrixProducts];
    LEVEL.one_of(&all, || {
        let most = match std::env::var("IVL_CPU").as_deref() {
            Ok("base") => CpuIntegers::Portable,
            Ok("dotprod") => CpuIntegers::DotProducts,
            _ => CpuIntegers::MatrixProducts,
        };
        let detected = if !is_aarch64_feature_detected!("dotprod") {
            CpuIntegers::Portable
        } else if !is_aarch64_feature_detected!("i8mm") {
            CpuIntegers::DotProducts
        } else {
            CpuIntegers::MatrixProducts
        };
        detected.min(most)
    })
}

pub(super) fn run(kernel: impl IntegerKernel) {
    match cpu_integers() {
        // SAFETY: the processor has the instructions that the function enables.
        CpuIntegers::MatrixProducts => unsafe { matrix_products(kernel) },
        // SAFETY: the processor has the instructions that the function enables.
        CpuIntegers::DotProducts => unsafe { dot_products(kernel) },
        CpuIntegers::Portable => kernel.run::<PortableIntegers>(),
    }
}

#[target_feature(enable = "dotprod,i8mm")]
fn matrix_products(kernel: impl IntegerKernel) {
    kernel.run::<MatrixProducts>();
}

#[target_feature(enable = "dotprod")]
fn dot_products(kernel: impl IntegerKernel) {
    kernel.run::<DotProducts>();
}
