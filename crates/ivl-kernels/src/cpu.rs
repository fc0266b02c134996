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

    /// Whole numbers times scales.
    fn bytes(bytes: &[i8; LANES], scales: Self::Lanes) -> Self::Lanes;
}

/// What runs at a level.
pub(crate) trait Kernel {
    /// Has to be `#[inline(always)]`, and everything in it that should be compiled for the level too.
    fn run<L: Level>(self);
}

/// Runs a kernel at the highest level of this processor, or the one that `IVL_CPU` (`base`, `avx2`) limits it to.
pub(crate) fn run(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    x86::run(kernel);
    #[cfg(not(target_arch = "x86_64"))]
    kernel.run::<Base>();
}

/// The sum of all lanes, by halves.
#[inline(always)]
pub(crate) fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Whatever the compiler makes of plain loops for its target.
pub(crate) struct Base;

impl Level for Base {
    type Lanes = [f32; LANES];
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
        std::array::from_fn(|lane| Self::fma_one(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    fn fma_one(a: f32, b: f32, c: f32) -> f32 {
        // Every 64-bit ARM has the fused one; elsewhere it may be a call of the C library.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn halves(halves: &[u16; LANES]) -> [f32; LANES] {
        halves.map(|bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn bytes(bytes: &[i8; LANES], scales: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| f32::from(bytes[lane]) * scales[lane])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(
        unsafe_code,
        reason = "instructions beyond the target's are used only after asking the processor"
    )]

    use std::arch::x86_64::{
        __m128i, __m256, __m256i, __m512, _mm256_cvtph_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
        _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_mul_ps,
    };
    use std::mem::transmute;
    use std::sync::OnceLock;

    use super::{Base, Kernel, LANES, Level};

    /// 256-bit vectors.
    struct Avx2;

    impl Level for Avx2 {
        type Lanes = [f32; LANES];
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
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        }

        #[inline(always)]
        fn fma_one(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn halves(halves: &[u16; LANES]) -> [f32; LANES] {
            // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which asked for F16C.
            unsafe {
                let vectors: [__m128i; 4] = transmute(*halves);
                transmute::<[__m256; 4], _>(vectors.map(|vector| _mm256_cvtph_ps(vector)))
            }
        }

        #[inline(always)]
        fn bytes(bytes: &[i8; LANES], scales: [f32; LANES]) -> [f32; LANES] {
            Base::bytes(bytes, scales)
        }
    }

    /// 512-bit vectors.
    struct Avx512;

    impl Level for Avx512 {
        type Lanes = [__m512; 2];
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
        fn bytes(bytes: &[i8; LANES], scales: [__m512; 2]) -> [__m512; 2] {
            // SAFETY: arrays and vectors are the same bits, and only `run` leads here, which asked for AVX-512.
            unsafe {
                let [first, second]: [__m128i; 2] = transmute(*bytes);
                [
                    _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(first)), scales[0]),
                    _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(second)), scales[1]),
                ]
            }
        }
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
