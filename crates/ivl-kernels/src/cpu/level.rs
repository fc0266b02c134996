//! An instruction set and a kernel as traits, and the steps over lanes that kernels share.

/// Bytes of a line of the processor's caches.
pub(crate) const CACHE_LINE: usize = 64;

/// Numbers that one step of a kernel works on.
pub(crate) const LANES: usize = 32;

/// An instruction set.
///
/// The methods are safe functions, although those of a level beyond the target's own execute instructions that a processor may
/// not have. That is sound because the implementations are private to `x86` and only its `run` instantiates a kernel with one of
/// them, after it has detected the instructions.
pub(crate) trait Level {
    /// [`LANES`] numbers, in registers where that helps.
    type Lanes: Copy;

    /// Half as many.
    type HalfLanes: Copy;

    /// Rows of sums that the registers hold besides the operands.
    const ROWS: usize;

    /// Reads from memory.
    fn load(numbers: &[f32; LANES]) -> Self::Lanes;

    /// The numbers as an array.
    fn store(lanes: Self::Lanes) -> [f32; LANES];

    /// `a * b + c`.
    fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;

    /// `a + b`.
    fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;

    /// `a * b + c` of single numbers.
    fn fma_one(a: f32, b: f32, c: f32) -> f32;

    /// The same number in every lane.
    #[inline(always)]
    fn splat(number: f32) -> Self::Lanes {
        Self::load(&[number; LANES])
    }

    /// From half precision.
    fn widen_f16(halves: &[u16; LANES]) -> Self::Lanes;

    /// From whole numbers.
    fn widen_bytes(bytes: &[i8; LANES]) -> Self::Lanes;

    /// The lower lanes plus the upper: the first step of [`sum`].
    fn fold_lanes(lanes: Self::Lanes) -> Self::HalfLanes;

    /// The other steps of [`sum`], for sixteen sums at once.
    fn sum_lanes(halves: [Self::HalfLanes; 16]) -> [f32; 16];
}

/// A computation that runs at a level of vector instructions.
pub(crate) trait Kernel {
    /// Has to be `#[inline(always)]`, and so does everything in it that should be compiled for the level: plain loops, and no
    /// closure that a function of the standard library calls.
    fn run<L: Level>(self);
}

/// Computes every lane. The loop is inlined in the kernel: `std::array::from_fn` and `map` may stay functions of their own,
/// which are compiled for the target and not for the level, with a call of the C library for each fused multiply-add.
#[inline(always)]
pub(crate) fn each(number: impl Fn(usize) -> f32) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for lane in 0..LANES {
        lanes[lane] = number(lane);
    }
    lanes
}

/// The last numbers of a list, filled up with `fill`.
#[inline(always)]
pub(crate) fn padded(rest: &[f32], fill: f32) -> [f32; LANES] {
    let mut padded = [fill; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// The largest of all numbers, minus infinity if there are none.
#[inline(always)]
pub(crate) fn max(chunks: &[[f32; LANES]]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        largest = each(|lane| largest[lane].max(chunk[lane]));
    }
    largest.into_iter().fold(f32::NEG_INFINITY, f32::max)
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
