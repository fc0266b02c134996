//! Levels of x86-64 beyond the target's own, and their detection.
#![expect(unsafe_code, reason = "instructions beyond the target's are used only after detecting them")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm_unpackhi_epi64,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_fmadd_ps,
    _mm512_permutexvar_ps, _mm512_setr_epi32, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_unpackhi_pd,
    _mm512_unpacklo_pd,
};
use std::mem::transmute;

use super::detected::Detected;
use super::level::{CACHE_LINE, Kernel, LANES, Level};
use super::portable::{Portable, array_lanes};

/// How far ahead, in bytes.
const PREFETCH_DISTANCE: usize = 4096;

/// See [`prefetch`](super::prefetch); `weights` may span several lines of the cache.
#[inline(always)]
pub(super) fn prefetch<W>(weights: &W) {
    for line in (0..size_of::<W>()).step_by(CACHE_LINE) {
        prefetch_ahead(weights, PREFETCH_DISTANCE + line);
    }
}

/// See [`prefetch_far`](super::prefetch_far).
#[inline(always)]
pub(super) fn prefetch_far<W>(weights: &W) {
    prefetch_address(std::ptr::from_ref(weights).addr().wrapping_add(PREFETCH_DISTANCE));
}

/// See [`prefetch_ahead`](super::prefetch_ahead).
#[inline(always)]
pub(super) fn prefetch_ahead<W>(weights: &W, bytes: usize) {
    let place = std::ptr::from_ref(weights).cast::<i8>().wrapping_add(bytes);
    // SAFETY: a prefetch reads nothing that the program sees, and one of an invalid address does nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
}

/// See [`prefetch_address`](super::prefetch_address).
#[inline(always)]
pub(super) fn prefetch_address(address: usize) {
    let place = std::ptr::without_provenance::<i8>(address);
    // SAFETY: a prefetch reads nothing that the program sees, and one of an invalid address does nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(place) };
}

/// 256-bit vectors.
struct Avx2;

impl Level for Avx2 {
    array_lanes!();

    #[inline(always)]
    fn fma_one(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn widen_f16(halves: &[u16; LANES]) -> [f32; LANES] {
        // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which has detected F16C.
        unsafe {
            let [a, b, c, d]: [__m128i; 4] = transmute(*halves);
            transmute::<[__m256; 4], _>([
                _mm256_cvtph_ps(a),
                _mm256_cvtph_ps(b),
                _mm256_cvtph_ps(c),
                _mm256_cvtph_ps(d),
            ])
        }
    }

    #[inline(always)]
    fn widen_bytes(bytes: &[i8; LANES]) -> [f32; LANES] {
        // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which has detected AVX2.
        unsafe {
            let [a, b]: [__m128i; 2] = transmute(*bytes);
            let one = |part| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part));
            transmute::<[__m256; 4], _>([
                one(a),
                one(_mm_unpackhi_epi64(a, a)),
                one(b),
                one(_mm_unpackhi_epi64(b, b)),
            ])
        }
    }
}

/// 512-bit vectors.
struct Avx512;

impl Level for Avx512 {
    type Lanes = [__m512; 2];
    type HalfLanes = __m512;
    const ROWS: usize = 14;

    #[inline(always)]
    fn load(numbers: &[f32; LANES]) -> [__m512; 2] {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(*numbers) }
    }

    #[inline(always)]
    fn store(lanes: [__m512; 2]) -> [f32; LANES] {
        // SAFETY: arrays and vectors are the same bits.
        unsafe { transmute(lanes) }
    }

    #[inline(always)]
    fn fma(a: [__m512; 2], b: [__m512; 2], c: [__m512; 2]) -> [__m512; 2] {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { [_mm512_fmadd_ps(a[0], b[0], c[0]), _mm512_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn add(a: [__m512; 2], b: [__m512; 2]) -> [__m512; 2] {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { [_mm512_add_ps(a[0], b[0]), _mm512_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn fma_one(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn widen_f16(halves: &[u16; LANES]) -> [__m512; 2] {
        // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which has detected AVX-512.
        unsafe {
            let [first, second]: [__m256i; 2] = transmute(*halves);
            [_mm512_cvtph_ps(first), _mm512_cvtph_ps(second)]
        }
    }

    #[inline(always)]
    fn widen_bytes(bytes: &[i8; LANES]) -> [__m512; 2] {
        // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which has detected AVX-512.
        unsafe {
            let [first, second]: [__m128i; 2] = transmute(*bytes);
            let one = |part| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(part));
            [one(first), one(second)]
        }
    }

    #[inline(always)]
    fn fold_lanes([low, high]: [__m512; 2]) -> __m512 {
        // SAFETY: only `run` leads here, which has detected AVX-512.
        unsafe { _mm512_add_ps(low, high) }
    }

    #[inline(always)]
    fn sum_lanes(h: [__m512; 16]) -> [f32; 16] {
        // SAFETY: only `run` leads here, which has detected AVX-512; arrays and vectors are the same bits.
        unsafe {
            // Four rows of four, by columns: the steps put neighbours four apart.
            let sums = ones(twos(fours(h, 0), fours(h, 4)), twos(fours(h, 8), fours(h, 12)));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            transmute::<__m512, [f32; 16]>(_mm512_permutexvar_ps(order, sums))
        }
    }
}

// The steps of `sum_lanes`. Each adds the halves of two vectors and puts the results side by side in one.

/// Sixteen numbers of each of four become four.
#[inline(always)]
unsafe fn fours(h: [__m512; 16], at: usize) -> __m512 {
    // SAFETY: the caller has detected AVX-512.
    unsafe {
        let [a, b] = [eights(h[at], h[at + 1]), eights(h[at + 2], h[at + 3])];
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
    }
}

/// Sixteen numbers of each of two become eight.
#[inline(always)]
unsafe fn eights(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller has detected AVX-512.
    unsafe { _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b)) }
}

/// Four numbers of each of eight become two.
#[inline(always)]
unsafe fn twos(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller has detected AVX-512.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let [low, high] = [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)];
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    }
}

/// Two numbers of each of sixteen become one.
#[inline(always)]
unsafe fn ones(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller has detected AVX-512.
    unsafe { _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xDD>(a, b)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CpuLevel {
    Portable,
    Avx2,
    Avx512,
}

fn cpu_level() -> CpuLevel {
    static LEVEL: Detected = Detected::new();
    LEVEL.one_of(&[CpuLevel::Portable, CpuLevel::Avx2, CpuLevel::Avx512], || {
        let most = match std::env::var("IVL_CPU").as_deref() {
            Ok("base") => CpuLevel::Portable,
            Ok("avx2" | "avxvnni") => CpuLevel::Avx2,
            _ => CpuLevel::Avx512,
        };
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let detected = match avx2 {
            false => CpuLevel::Portable,
            true if is_x86_feature_detected!("avx512f") => CpuLevel::Avx512,
            true => CpuLevel::Avx2,
        };
        detected.min(most)
    })
}

pub(super) fn run(kernel: impl Kernel) {
    match cpu_level() {
        // SAFETY: the processor has the instructions that the function enables.
        CpuLevel::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: the processor has the instructions that the function enables.
        CpuLevel::Avx2 => unsafe { avx2(kernel) },
        CpuLevel::Portable => kernel.run::<Portable>(),
    }
}

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn avx512(kernel: impl Kernel) {
    kernel.run::<Avx512>();
}

#[target_feature(enable = "avx2,fma,f16c")]
fn avx2(kernel: impl Kernel) {
    kernel.run::<Avx2>();
}
