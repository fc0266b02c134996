//! Rows of codes become vectors of steps, on x86-64: transpositions of groups of four bytes.
#![expect(unsafe_code, reason = "instructions beyond the target's are used only after detecting them")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
    _mm512_castsi256_si512, _mm512_inserti64x4, _mm512_set1_epi8, _mm512_shuffle_i32x4,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};
use std::mem::transmute;

use super::integer_level::{INPUTS, OUTPUTS};

/// Steps of a row.
const STEPS: usize = 8;

/// Codes of one output.
type Row = [i8; STEPS * INPUTS];

/// See [`IntegerLevel::interleave`](super::IntegerLevel::interleave).
///
/// # Safety
/// The processor needs AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn by_512_bits(rows: [&Row; OUTPUTS]) -> [__m512i; STEPS] {
    // SAFETY: the caller has detected AVX-512; arrays and vectors are the same bits.
    unsafe {
        let sign = _mm512_set1_epi8(-128);
        // Four rows in the lower halves and the four after them in the upper ones; then the same of the other eight.
        let mut halves = [sign; STEPS];
        for at in 0..STEPS {
            let first = at / 4 * 8 + at % 4;
            let low = transmute::<Row, __m256i>(*rows[first]);
            let high = transmute::<Row, __m256i>(*rows[first + 4]);
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            halves[at] = _mm512_xor_si512(both, sign);
        }
        let [a, b] = [fours_by_512_bits(halves, 0), fours_by_512_bits(halves, 4)];
        let mut steps = [sign; STEPS];
        for step in 0..4 {
            steps[step] = _mm512_shuffle_i32x4::<0x88>(a[step], b[step]);
            steps[step + 4] = _mm512_shuffle_i32x4::<0xDD>(a[step], b[step]);
        }
        steps
    }
}

/// Transposes each quarter of four vectors.
///
/// # Safety
/// The processor needs AVX-512.
#[inline(always)]
unsafe fn fours_by_512_bits(rows: [__m512i; STEPS], at: usize) -> [__m512i; 4] {
    // SAFETY: the caller has detected AVX-512.
    unsafe {
        let [low, high] = [
            _mm512_unpacklo_epi32(rows[at], rows[at + 1]),
            _mm512_unpacklo_epi32(rows[at + 2], rows[at + 3]),
        ];
        let [low_end, high_end] = [
            _mm512_unpackhi_epi32(rows[at], rows[at + 1]),
            _mm512_unpackhi_epi32(rows[at + 2], rows[at + 3]),
        ];
        [
            _mm512_unpacklo_epi64(low, high),
            _mm512_unpackhi_epi64(low, high),
            _mm512_unpacklo_epi64(low_end, high_end),
            _mm512_unpackhi_epi64(low_end, high_end),
        ]
    }
}

/// See [`IntegerLevel::interleave`](super::IntegerLevel::interleave).
///
/// # Safety
/// The processor needs AVX2.
#[inline(always)]
pub(super) unsafe fn by_256_bits(rows: [&Row; OUTPUTS]) -> [[__m256i; 2]; STEPS] {
    // SAFETY: the caller has detected AVX2; arrays and vectors are the same bits.
    unsafe {
        let sign = _mm256_set1_epi8(-128);
        let mut steps = [[sign; 2]; STEPS];
        for half in 0..2 {
            let mut own = [sign; STEPS];
            for at in 0..STEPS {
                own[at] = _mm256_xor_si256(transmute::<Row, __m256i>(*rows[half * 8 + at]), sign);
            }
            let [a, b] = [fours_by_256_bits(own, 0), fours_by_256_bits(own, 4)];
            for step in 0..4 {
                steps[step][half] = _mm256_permute2x128_si256::<0x20>(a[step], b[step]);
                steps[step + 4][half] = _mm256_permute2x128_si256::<0x31>(a[step], b[step]);
            }
        }
        steps
    }
}

/// Transposes each half of four vectors.
///
/// # Safety
/// The processor needs AVX2.
#[inline(always)]
unsafe fn fours_by_256_bits(rows: [__m256i; STEPS], at: usize) -> [__m256i; 4] {
    // SAFETY: the caller has detected AVX2.
    unsafe {
        let [low, high] = [
            _mm256_unpacklo_epi32(rows[at], rows[at + 1]),
            _mm256_unpacklo_epi32(rows[at + 2], rows[at + 3]),
        ];
        let [low_end, high_end] = [
            _mm256_unpackhi_epi32(rows[at], rows[at + 1]),
            _mm256_unpackhi_epi32(rows[at + 2], rows[at + 3]),
        ];
        [
            _mm256_unpacklo_epi64(low, high),
            _mm256_unpackhi_epi64(low, high),
            _mm256_unpacklo_epi64(low_end, high_end),
            _mm256_unpackhi_epi64(low_end, high_end),
        ]
    }
}
