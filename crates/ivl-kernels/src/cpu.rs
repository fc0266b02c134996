//! The instruction sets that kernels are compiled for, and the choice among them at run time.
//!
//! Kernels are loops over [`LANES`] numbers at a time, compiled once for each [`Level`]. The order of operations is the same
//! at each, and so are the results wherever there is a fused multiply-add.

/// Numbers that one step of a kernel works on.
pub(crate) const LANES: usize = 32;

/// An instruction set.
pub(crate) trait Level {
    /// [`LANES`] numbers, in registers where that helps.
    type Lanes: Copy;

    /// Half as many.
    type Half: Copy;

    /// Rows of sums that the registers hold beside what is multiplied.
    const ROWS: usize;

    /// From memory.
    fn load(numbers: &[f32; LANES]) -> Self::Lanes;

    /// To memory.
    fn store(lanes: Self::Lanes) -> [f32; LANES];

    /// `a * b + c`.
    fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;

    /// `a * b + c` of single numbers.
    fn fma_one(a: f32, b: f32, c: f32) -> f32;

    /// The same number in every lane.
    #[inline(always)]
    fn splat(number: f32) -> Self::Lanes {
        Self::load(&[number; LANES])
    }

    /// From half precision.
    fn halves(halves: &[u16; LANES]) -> Self::Lanes;

    /// From whole numbers.
    fn bytes(bytes: &[i8; LANES]) -> Self::Lanes;

    /// The lower lanes plus the upper: the first step of [`sum`].
    fn halved(lanes: Self::Lanes) -> Self::Half;

    /// The other steps of [`sum`], of sixteen at once.
    fn sums(halves: [Self::Half; 16]) -> [f32; 16];
}

/// A computation that runs at a level of vector instructions.
pub(crate) trait Kernel {
    /// Has to be `#[inline(always)]`, and everything in it that should be compiled for the level too: plain loops, and no
    /// closure that a function of the standard library calls.
    fn run<L: Level>(self);
}

/// Runs a kernel at the highest level of this processor, or the one that `IVL_CPU` (`base`, `avx2`) limits it to.
pub(crate) fn run(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    x86::run(kernel);
    #[cfg(not(target_arch = "x86_64"))]
    kernel.run::<Base>();
}

/// Prefetches memory some distance ahead of `weights`, so that it is in the cache when it is needed. The processor does so by
/// itself, but not far enough to keep a product of several rows busy.
#[inline(always)]
pub(crate) fn ask_ahead<W>(weights: &W) {
    #[cfg(target_arch = "x86_64")]
    x86::ask_ahead(weights);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// Computes every lane. A loop in the kernel itself: `std::array::from_fn` and `map` may stay functions of their own, which are
/// compiled for the target and not for the level, with a call of the C library for each fused multiply-add.
#[inline(always)]
pub(crate) fn each(number: impl Fn(usize) -> f32) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for lane in 0..LANES {
        lanes[lane] = number(lane);
    }
    lanes
}

/// The last numbers of a list, with `fill` beyond its end.
#[inline(always)]
pub(crate) fn padded(rest: &[f32], fill: f32) -> [f32; LANES] {
    let mut padded = [fill; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// The sum of all lanes, by halves.
#[inline(always)]
pub(crate) fn sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// [`Level::halved`] of plain numbers.
#[inline(always)]
fn halved(lanes: [f32; LANES]) -> [f32; LANES / 2] {
    let mut half = [0.0; LANES / 2];
    for lane in 0..LANES / 2 {
        half[lane] = lanes[lane] + lanes[lane + LANES / 2];
    }
    half
}

/// [`Level::sums`] of plain numbers.
#[inline(always)]
fn sums(halves: [[f32; LANES / 2]; 16]) -> [f32; 16] {
    let mut sums = [0.0; 16];
    for index in 0..16 {
        sums[index] = sum(halves[index]);
    }
    sums
}

/// Whatever the compiler makes of plain loops for its target.
pub(crate) struct Base;

impl Level for Base {
    type Lanes = [f32; LANES];
    type Half = [f32; LANES / 2];
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
        each(|lane| Self::fma_one(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    fn fma_one(a: f32, b: f32, c: f32) -> f32 {
        // Every 64-bit ARM has the fused one; elsewhere it may be a call of the C library.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn halves(halves: &[u16; LANES]) -> [f32; LANES] {
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        return neon::halves(halves);
        #[cfg(not(all(target_arch = "aarch64", target_feature = "neon")))]
        each(|lane| half::f16::from_bits(halves[lane]).to_f32())
    }

    #[inline(always)]
    fn bytes(bytes: &[i8; LANES]) -> [f32; LANES] {
        each(|lane| f32::from(bytes[lane]))
    }

    #[inline(always)]
    fn halved(lanes: [f32; LANES]) -> Self::Half {
        halved(lanes)
    }

    #[inline(always)]
    fn sums(halves: [Self::Half; 16]) -> [f32; 16] {
        sums(halves)
    }
}

/// Operations that the compiler does not generate from plain loops.
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon {
    use std::arch::aarch64::{float16x4_t, float32x4_t, vcvt_f32_f16};
    use std::mem::transmute;

    use super::LANES;

    /// [`super::Level::halves`]: a call for each number otherwise.
    #[expect(unsafe_code, reason = "arrays have to become vectors")]
    #[inline(always)]
    pub(super) fn halves(halves: &[u16; LANES]) -> [f32; LANES] {
        // SAFETY: arrays and vectors are the same bits, and the target has NEON.
        unsafe {
            let [a, b, c, d, e, f, g, h]: [float16x4_t; 8] = transmute(*halves);
            transmute::<[float32x4_t; 8], _>([
                vcvt_f32_f16(a),
                vcvt_f32_f16(b),
                vcvt_f32_f16(c),
                vcvt_f32_f16(d),
                vcvt_f32_f16(e),
                vcvt_f32_f16(f),
                vcvt_f32_f16(g),
                vcvt_f32_f16(h),
            ])
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(
        unsafe_code,
        reason = "instructions beyond the target's are used only after asking the processor"
    )]

    use std::arch::x86_64::{
        __m128i, __m256, __m256i, __m512, _MM_HINT_T0, _mm_prefetch, _mm256_cvtph_ps, _mm512_add_ps,
        _mm512_castpd_ps, _mm512_castps_pd, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
        _mm512_fmadd_ps, _mm512_permutexvar_ps, _mm512_setr_epi32, _mm512_shuffle_f32x4, _mm512_shuffle_ps,
        _mm512_unpackhi_pd, _mm512_unpacklo_pd,
    };
    use std::mem::transmute;
    use std::sync::OnceLock;

    use super::{Base, Kernel, LANES, Level, halved, sums};

    /// How far ahead, in bytes.
    const AHEAD: usize = 4096;

    /// [`ask_ahead`](super::ask_ahead), of each line of the cache.
    #[inline(always)]
    pub(super) fn ask_ahead<W>(weights: &W) {
        for line in (0..size_of::<W>()).step_by(64) {
            let place = std::ptr::from_ref(weights).cast::<i8>().wrapping_add(AHEAD + line);
            // SAFETY: nothing is read; a place that is not there is no error.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
        }
    }

    /// 256-bit vectors.
    struct Avx2;

    impl Level for Avx2 {
        type Lanes = [f32; LANES];
        type Half = [f32; LANES / 2];
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
                sums[lane] = a[lane].mul_add(b[lane], c[lane]);
            }
            sums
        }

        #[inline(always)]
        fn fma_one(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn halves(halves: &[u16; LANES]) -> [f32; LANES] {
            // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which asked for F16C.
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
        fn bytes(bytes: &[i8; LANES]) -> [f32; LANES] {
            Base::bytes(bytes)
        }

        #[inline(always)]
        fn halved(lanes: [f32; LANES]) -> Self::Half {
            halved(lanes)
        }

        #[inline(always)]
        fn sums(halves: [Self::Half; 16]) -> [f32; 16] {
            sums(halves)
        }
    }

    /// 512-bit vectors.
    struct Avx512;

    impl Level for Avx512 {
        type Lanes = [__m512; 2];
        type Half = __m512;
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
            // SAFETY: only `run` leads here, which asked for AVX-512.
            unsafe { [_mm512_fmadd_ps(a[0], b[0], c[0]), _mm512_fmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        fn fma_one(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn halves(halves: &[u16; LANES]) -> [__m512; 2] {
            // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which asked for AVX-512.
            unsafe {
                let [first, second]: [__m256i; 2] = transmute(*halves);
                [_mm512_cvtph_ps(first), _mm512_cvtph_ps(second)]
            }
        }

        #[inline(always)]
        fn bytes(bytes: &[i8; LANES]) -> [__m512; 2] {
            // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which asked for AVX-512.
            unsafe {
                let [first, second]: [__m128i; 2] = transmute(*bytes);
                [
                    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(first)),
                    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(second)),
                ]
            }
        }

        #[inline(always)]
        fn halved([low, high]: [__m512; 2]) -> __m512 {
            // SAFETY: only `run` leads here, which asked for AVX-512.
            unsafe { _mm512_add_ps(low, high) }
        }

        #[inline(always)]
        fn sums(h: [__m512; 16]) -> [f32; 16] {
            // SAFETY: only `run` leads here, which asked for AVX-512; arrays and vectors are the same bits.
            unsafe {
                // Four rows of four, by columns: the steps put neighbours four apart.
                let sums = ones(twos(fours(h, 0), fours(h, 4)), twos(fours(h, 8), fours(h, 12)));
                let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                transmute::<__m512, [f32; 16]>(_mm512_permutexvar_ps(order, sums))
            }
        }
    }

    // The steps of `sums`. Each adds the halves of what is left of two vectors and puts the results side by side in one.

    /// Sixteen numbers of each of four become four.
    #[inline(always)]
    unsafe fn fours(h: [__m512; 16], at: usize) -> __m512 {
        // SAFETY: the caller asked for AVX-512.
        unsafe {
            let [a, b] = [eights(h[at], h[at + 1]), eights(h[at + 2], h[at + 3])];
            _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
        }
    }

    /// Sixteen numbers of each of two become eight.
    #[inline(always)]
    unsafe fn eights(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller asked for AVX-512.
        unsafe { _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b)) }
    }

    /// Four numbers of each of eight become two.
    #[inline(always)]
    unsafe fn twos(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller asked for AVX-512.
        unsafe {
            let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
            let [low, high] = [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)];
            _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
        }
    }

    /// Two numbers of each of sixteen become one.
    #[inline(always)]
    unsafe fn ones(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller asked for AVX-512.
        unsafe { _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xDD>(a, b)) }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Has {
        Neither,
        Avx2,
        Avx512,
    }

    fn has() -> Has {
        static HAS: OnceLock<Has> = OnceLock::new();
        *HAS.get_or_init(|| {
            let most = match std::env::var("IVL_CPU").as_deref() {
                Ok("base") => Has::Neither,
                Ok("avx2") => Has::Avx2,
                _ => Has::Avx512,
            };
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let has = match avx2 {
                false => Has::Neither,
                true if is_x86_feature_detected!("avx512f") => Has::Avx512,
                true => Has::Avx2,
            };
            has.min(most)
        })
    }

    pub(super) fn run(kernel: impl Kernel) {
        match has() {
            // SAFETY: the processor has what the function enables.
            Has::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: the processor has what the function enables.
            Has::Avx2 => unsafe { avx2(kernel) },
            Has::Neither => kernel.run::<Base>(),
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
}
