//! Levels of x86-64 for whole numbers: AVX-512 VNNI, AVX-VNNI and AVX2.
#![expect(unsafe_code, reason = "instructions beyond the target's are used only after detecting them")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, __m512i, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_shuffle_epi8, _mm256_sign_epi8, _mm256_slli_epi32, _mm256_sllv_epi32, _mm256_srli_epi16,
    _mm256_srlv_epi32, _mm256_xor_si256, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castsi512_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_srli_epi16, _mm512_srlv_epi32,
    _mm512_sub_epi8,
};
use std::mem::transmute;

use super::detected::Detected;
use super::integer_level::{
    CodeBytes, INPUTS, IntegerKernel, IntegerLevel, OUTPUTS, PortableIntegers, TileSums,
};
use super::{x86_interleaving, x86_tiles};

/// 512-bit vectors with VNNI, which adds four products of bytes at once, and tiles where the processor has them.
struct Avx512Vnni;

impl IntegerLevel for Avx512Vnni {
    type Codes = __m512i;
    type Sums = __m512i;
    type Floats = __m512;
    const ROWS: usize = 8;
    const BYTE_OFFSET: i32 = 128;

    #[inline(always)]
    fn codes(bytes: &CodeBytes) -> __m512i {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(*bytes) }
    }

    #[inline(always)]
    fn low(codes: __m512i) -> __m512i {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_and_si512(codes, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn high(codes: __m512i) -> __m512i {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn merge(codes: __m512i, planes: __m512i, shift: i32, mask: u8) -> __m512i {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe {
            let bits = match shift {
                0.. => _mm512_sllv_epi32(planes, _mm512_set1_epi32(shift)),
                _ => _mm512_srlv_epi32(planes, _mm512_set1_epi32(-shift)),
            };
            _mm512_or_si512(codes, _mm512_and_si512(bits, _mm512_set1_epi8(mask as i8)))
        }
    }

    #[inline(always)]
    fn look_up(table: &[u8; 16], codes: __m512i) -> __m512i {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(transmute::<[u8; 16], __m128i>(*table)), codes) }
    }

    #[inline(always)]
    fn add_products(sums: __m512i, codes: __m512i, x: [i8; INPUTS]) -> __m512i {
        // SAFETY: only `run` leads here, which has detected VNNI; arrays and numbers are the same bits.
        unsafe { _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(transmute::<[i8; INPUTS], i32>(x))) }
    }

    #[inline(always)]
    fn add_bytes(sums: __m512i, codes: __m512i, x: [i8; INPUTS]) -> __m512i {
        Self::add_products(sums, codes, x)
    }

    #[inline(always)]
    fn interleave(rows: [&[i8; 8 * INPUTS]; OUTPUTS]) -> [__m512i; 8] {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { x86_interleaving::by_512_bits(rows) }
    }

    #[inline(always)]
    fn splat_sum(number: i32) -> __m512i {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_set1_epi32(number) }
    }

    #[inline(always)]
    fn to_floats(sums: __m512i) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    fn splat(number: f32) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_set1_ps(number) }
    }

    #[inline(always)]
    fn multiply(a: __m512, b: __m512) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn widen_halves(halves: [u16; OUTPUTS]) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe { _mm512_cvtph_ps(transmute::<[u16; OUTPUTS], __m256i>(halves)) }
    }

    #[inline(always)]
    fn widen_bfloats(halves: [u16; OUTPUTS]) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(transmute::<[u16; OUTPUTS], __m256i>(halves));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn widen_bytes(bytes: [i8; OUTPUTS]) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(transmute::<[i8; OUTPUTS], __m128i>(bytes))) }
    }

    #[inline(always)]
    fn store(floats: __m512) -> [f32; OUTPUTS] {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(floats) }
    }

    #[inline(always)]
    fn has_tiles() -> bool {
        x86_tiles::detected()
    }

    #[inline(always)]
    fn signed(codes: __m512i, offset: i32) -> [i8; OUTPUTS * INPUTS] {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe { transmute(_mm512_sub_epi8(codes, _mm512_set1_epi8(offset as i8))) }
    }

    #[inline(always)]
    fn load_sums(sums: &[i32; OUTPUTS]) -> __m512i {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(*sums) }
    }

    fn configure_tiles(inputs: usize) {
        x86_tiles::configure(inputs);
    }

    fn release_tiles() {
        x86_tiles::release();
    }

    #[inline(always)]
    fn multiply_tile<const N: usize>(x: &[i8], stride: usize, codes: &[i8], sums: &mut TileSums, odd: bool) {
        x86_tiles::multiply::<N>(x, stride, codes, sums, odd);
    }
}

/// The shared part of the levels with 256-bit vectors: all of [`IntegerLevel`] except sums of products.
macro_rules! halves_of_256_bits {
    () => {
        type Codes = [__m256i; 2];
        type Sums = [__m256i; 2];
        type Floats = [__m256; 2];
        const ROWS: usize = 4;

        #[inline(always)]
        fn codes(bytes: &CodeBytes) -> [__m256i; 2] {
            // SAFETY: arrays and vectors are the same bits.
            unsafe { transmute(*bytes) }
        }

        #[inline(always)]
        fn low([a, b]: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe {
                let mask = _mm256_set1_epi8(15);
                [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)]
            }
        }

        #[inline(always)]
        fn high([a, b]: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { Self::low([_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)]) }
        }

        #[inline(always)]
        fn merge(codes: [__m256i; 2], planes: [__m256i; 2], shift: i32, mask: u8) -> [__m256i; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe {
                let one = |codes, planes| {
                    let bits = match shift {
                        0.. => _mm256_sllv_epi32(planes, _mm256_set1_epi32(shift)),
                        _ => _mm256_srlv_epi32(planes, _mm256_set1_epi32(-shift)),
                    };
                    _mm256_or_si256(codes, _mm256_and_si256(bits, _mm256_set1_epi8(mask as i8)))
                };
                [one(codes[0], planes[0]), one(codes[1], planes[1])]
            }
        }

        #[inline(always)]
        fn look_up(table: &[u8; 16], [a, b]: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2; arrays and vectors are the same bits.
            unsafe {
                let table: __m256i = transmute([*table; 2]);
                [_mm256_shuffle_epi8(table, a), _mm256_shuffle_epi8(table, b)]
            }
        }

        #[inline(always)]
        fn interleave(rows: [&[i8; 8 * INPUTS]; OUTPUTS]) -> [[__m256i; 2]; 8] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { x86_interleaving::by_256_bits(rows) }
        }

        #[inline(always)]
        fn splat_sum(number: i32) -> [__m256i; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { [_mm256_set1_epi32(number); 2] }
        }

        #[inline(always)]
        fn to_floats([a, b]: [__m256i; 2]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { [_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)] }
        }

        #[inline(always)]
        fn splat(number: f32) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { [_mm256_set1_ps(number); 2] }
        }

        #[inline(always)]
        fn multiply(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2.
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }

        #[inline(always)]
        fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected FMA.
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        fn widen_halves(halves: [u16; OUTPUTS]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected F16C; arrays and vectors are the same bits.
            unsafe {
                let [a, b]: [__m128i; 2] = transmute(halves);
                [_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)]
            }
        }

        #[inline(always)]
        fn widen_bfloats(halves: [u16; OUTPUTS]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2; arrays and vectors are the same bits.
            unsafe {
                let [a, b]: [__m128i; 2] = transmute(halves);
                let one = |part| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(part)));
                [one(a), one(b)]
            }
        }

        #[inline(always)]
        fn widen_bytes(bytes: [i8; OUTPUTS]) -> [__m256; 2] {
            // SAFETY: only `run` leads here, which has detected AVX2; arrays and vectors are the same bits.
            unsafe {
                let [a, b]: [[i8; 8]; 2] = transmute(bytes);
                let one = |part: [i8; 8]| {
                    let mut wide = [0; 16];
                    wide[..8].copy_from_slice(&part);
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(transmute::<[i8; 16], __m128i>(wide)))
                };
                [one(a), one(b)]
            }
        }

        #[inline(always)]
        fn store(floats: [__m256; 2]) -> [f32; OUTPUTS] {
            // SAFETY: arrays and vectors are the same bits.
            unsafe { transmute(floats) }
        }
    };
}

/// 256-bit vectors with VNNI.
struct AvxVnni;

impl IntegerLevel for AvxVnni {
    halves_of_256_bits!();

    const BYTE_OFFSET: i32 = 128;

    #[inline(always)]
    fn add_products(sums: [__m256i; 2], codes: [__m256i; 2], x: [i8; INPUTS]) -> [__m256i; 2] {
        // SAFETY: only `run` leads here, which has detected VNNI; arrays and numbers are the same bits.
        unsafe {
            let x = _mm256_set1_epi32(transmute::<[i8; INPUTS], i32>(x));
            [_mm256_dpbusd_avx_epi32(sums[0], codes[0], x), _mm256_dpbusd_avx_epi32(sums[1], codes[1], x)]
        }
    }

    #[inline(always)]
    fn add_bytes(sums: [__m256i; 2], codes: [__m256i; 2], x: [i8; INPUTS]) -> [__m256i; 2] {
        Self::add_products(sums, codes, x)
    }
}

/// 256-bit vectors: two products are added in sixteen bits, which codes below 64 and signed bytes cannot exceed.
struct Avx2;

impl IntegerLevel for Avx2 {
    halves_of_256_bits!();

    const BYTE_OFFSET: i32 = 0;

    #[inline(always)]
    fn add_products(sums: [__m256i; 2], codes: [__m256i; 2], x: [i8; INPUTS]) -> [__m256i; 2] {
        // SAFETY: only `run` leads here, which has detected AVX2; arrays and numbers are the same bits.
        unsafe {
            let (x, ones) = (_mm256_set1_epi32(transmute::<[i8; INPUTS], i32>(x)), _mm256_set1_epi16(1));
            let one =
                |sums, codes| _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), ones));
            [one(sums[0], codes[0]), one(sums[1], codes[1])]
        }
    }

    #[inline(always)]
    fn add_bytes(sums: [__m256i; 2], codes: [__m256i; 2], x: [i8; INPUTS]) -> [__m256i; 2] {
        // SAFETY: only `run` leads here, which has detected AVX2; arrays and numbers are the same bits.
        unsafe {
            let (x, ones) = (_mm256_set1_epi32(transmute::<[i8; INPUTS], i32>(x)), _mm256_set1_epi16(1));
            let one = |sums, codes| {
                // A code less 128 changes only its first bit. The magnitude has at most 128, and takes the sign to x.
                let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed));
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones))
            };
            [one(sums[0], codes[0]), one(sums[1], codes[1])]
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CpuIntegers {
    Portable,
    Avx2,
    AvxVnni,
    Avx512Vnni,
}

fn cpu_integers() -> CpuIntegers {
    static LEVEL: Detected = Detected::new();
    let all = [CpuIntegers::Portable, CpuIntegers::Avx2, CpuIntegers::AvxVnni, CpuIntegers::Avx512Vnni];
    LEVEL.one_of(&all, || {
        let most = match std::env::var("IVL_CPU").as_deref() {
            Ok("base") => CpuIntegers::Portable,
            Ok("avx2") => CpuIntegers::Avx2,
            Ok("avxvnni") => CpuIntegers::AvxVnni,
            _ => CpuIntegers::Avx512Vnni,
        };
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        // A processor with VNNI for 512 bits need not have it for 256, and the other way round.
        if !avx2 || most == CpuIntegers::Portable {
            CpuIntegers::Portable
        } else if avx512 && most == CpuIntegers::Avx512Vnni {
            CpuIntegers::Avx512Vnni
        } else if is_x86_feature_detected!("avxvnni") && most >= CpuIntegers::AvxVnni {
            CpuIntegers::AvxVnni
        } else {
            CpuIntegers::Avx2
        }
    })
}

pub(super) fn run(kernel: impl IntegerKernel) {
    match cpu_integers() {
        // SAFETY: the processor has the instructions that the function enables.
        CpuIntegers::Avx512Vnni => unsafe { avx512_vnni(kernel) },
        // SAFETY: the processor has the instructions that the function enables.
        CpuIntegers::AvxVnni => unsafe { avx_vnni(kernel) },
        // SAFETY: the processor has the instructions that the function enables.
        CpuIntegers::Avx2 => unsafe { avx2(kernel) },
        CpuIntegers::Portable => kernel.run::<PortableIntegers>(),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
fn avx512_vnni(kernel: impl IntegerKernel) {
    kernel.run::<Avx512Vnni>();
}

#[target_feature(enable = "avxvnni,avx2,fma,f16c")]
fn avx_vnni(kernel: impl IntegerKernel) {
    kernel.run::<AvxVnni>();
}

#[target_feature(enable = "avx2,fma,f16c")]
fn avx2(kernel: impl IntegerKernel) {
    kernel.run::<Avx2>();
}
