//! An instruction set for sums of products of small whole numbers.

/// Outputs whose sums are formed side by side.
pub(crate) const OUTPUTS: usize = 16;

/// Neighbouring inputs of one output whose products are added in one step.
pub(crate) const INPUTS: usize = 4;

/// Codes of [`INPUTS`] neighbouring inputs of each of [`OUTPUTS`] outputs: output by output.
pub(crate) type CodeBytes = [u8; OUTPUTS * INPUTS];

/// Rows that a processor with tiles multiplies at once.
pub(crate) const TILE_ROWS: usize = 16;

/// Sums of [`TILE_ROWS`] rows for [`OUTPUTS`] outputs.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct TileSums(pub(crate) [[i32; OUTPUTS]; TILE_ROWS]);

/// An instruction set for sums of products of small whole numbers.
///
/// Weights are codes without sign, activations are signed bytes between -127 and 127. All sums are exact. As for
/// [`Level`](super::Level), the implementations beyond the target's own are private to `x86_integers`, whose `run` detects the
/// instructions before it instantiates a kernel.
pub(crate) trait IntegerLevel {
    /// [`CodeBytes`] in registers.
    type Codes: Copy;

    /// A whole number for each of [`OUTPUTS`].
    type Sums: Copy;

    /// A float for each of [`OUTPUTS`].
    type Floats: Copy;

    /// Rows of sums that the registers hold besides the operands.
    const ROWS: usize;

    /// What [`add_bytes`](Self::add_bytes) leaves in each code: 128 where the processor multiplies with codes as they are.
    const BYTE_OFFSET: i32;

    /// Reads from memory.
    fn codes(bytes: &CodeBytes) -> Self::Codes;

    /// The lower four bits of each byte.
    fn low(codes: Self::Codes) -> Self::Codes;

    /// The upper four bits of each byte.
    fn high(codes: Self::Codes) -> Self::Codes;

    /// Adds to the codes the bits of `planes` that `mask` selects after a shift to the left, or to the right if negative.
    fn merge(codes: Self::Codes, planes: Self::Codes, shift: i32, mask: u8) -> Self::Codes;

    /// The entry of the table that each code names.
    fn look_up(table: &[u8; 16], codes: Self::Codes) -> Self::Codes;

    /// Adds the products of codes below 64 with four activations, the same for each output.
    fn add_products(sums: Self::Sums, codes: Self::Codes, x: [i8; INPUTS]) -> Self::Sums;

    /// The same for any codes, from which 128 less [`BYTE_OFFSET`](Self::BYTE_OFFSET) is subtracted first.
    fn add_bytes(sums: Self::Sums, codes: Self::Codes, x: [i8; INPUTS]) -> Self::Sums;

    /// Signed codes of 32 inputs for each output, one after the other, as they are in [`CodeBytes`]: for each step of [`INPUTS`] a
    /// vector, and each code with 128 added.
    #[inline(always)]
    fn interleave(rows: [&[i8; 8 * INPUTS]; OUTPUTS]) -> [Self::Codes; 8] {
        let mut steps = [[0; OUTPUTS * INPUTS]; 8];
        for output in 0..OUTPUTS {
            for (step, codes) in rows[output].as_chunks::<INPUTS>().0.iter().enumerate() {
                for input in 0..INPUTS {
                    steps[step][output * INPUTS + input] = codes[input] as u8 ^ 128;
                }
            }
        }
        let mut vectors = [Self::codes(&steps[0]); 8];
        for step in 1..8 {
            vectors[step] = Self::codes(&steps[step]);
        }
        vectors
    }

    /// The same number for each output.
    fn splat_sum(number: i32) -> Self::Sums;

    /// As floats.
    fn to_floats(sums: Self::Sums) -> Self::Floats;

    /// The same number for each output.
    fn splat(number: f32) -> Self::Floats;

    /// `a * b`.
    fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `a * b + c`, fused where the processor can.
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// From half precision.
    fn widen_halves(halves: [u16; OUTPUTS]) -> Self::Floats;

    /// From the upper halves of floats.
    fn widen_bfloats(halves: [u16; OUTPUTS]) -> Self::Floats;

    /// From whole numbers.
    fn widen_bytes(bytes: [i8; OUTPUTS]) -> Self::Floats;

    /// The numbers as an array.
    fn store(floats: Self::Floats) -> [f32; OUTPUTS];

    /// Whether the level has tiles. If it has none, the functions below are not called.
    fn has_tiles() -> bool {
        false
    }

    /// Codes less an offset, as signed bytes.
    fn signed(_codes: Self::Codes, _offset: i32) -> [i8; OUTPUTS * INPUTS] {
        unreachable!("no tiles")
    }

    /// Reads sums from memory.
    fn load_sums(_sums: &[i32; OUTPUTS]) -> Self::Sums {
        unreachable!("no tiles")
    }

    /// Prepares tiles of so many inputs on this thread.
    fn configure_tiles(_inputs: usize) {}

    /// Leaves the tiles of this thread empty.
    fn release_tiles() {}

    /// The products of [`TILE_ROWS`] rows, each of them `stride` bytes after the one before, with signed codes of so many inputs: 16 or 32,
    /// those of the configuration. Two products one after the other differ in `odd`.
    fn multiply_tile<const INPUTS: usize>(
        _x: &[i8],
        _stride: usize,
        _codes: &[i8],
        _sums: &mut TileSums,
        _odd: bool,
    ) {
        unreachable!("no tiles")
    }
}

/// A computation that runs at a level of instructions for whole numbers; see [`Kernel`](super::Kernel).
pub(crate) trait IntegerKernel {
    /// Has to be `#[inline(always)]`, as in [`Kernel::run`](super::Kernel::run).
    fn run<L: IntegerLevel>(self);
}

/// The compiler's vectors for its target, from plain loops. They are functions of their own, since they need no other instructions:
/// inlined in every kernel they would take minutes to compile.
pub(crate) struct PortableIntegers;

impl IntegerLevel for PortableIntegers {
    type Codes = CodeBytes;
    type Sums = [i32; OUTPUTS];
    type Floats = [f32; OUTPUTS];
    const ROWS: usize = 1;
    const BYTE_OFFSET: i32 = 0;

    #[inline(always)]
    fn codes(bytes: &CodeBytes) -> CodeBytes {
        *bytes
    }

    #[inline(never)]
    fn low(mut codes: CodeBytes) -> CodeBytes {
        for at in 0..codes.len() {
            codes[at] &= 15;
        }
        codes
    }

    #[inline(never)]
    fn high(mut codes: CodeBytes) -> CodeBytes {
        for at in 0..codes.len() {
            codes[at] >>= 4;
        }
        codes
    }

    #[inline(never)]
    fn merge(mut codes: CodeBytes, planes: CodeBytes, shift: i32, mask: u8) -> CodeBytes {
        for at in 0..codes.len() {
            let bits = if shift < 0 { planes[at] >> -shift } else { planes[at] << shift };
            codes[at] |= bits & mask;
        }
        codes
    }

    #[inline(never)]
    fn look_up(table: &[u8; 16], mut codes: CodeBytes) -> CodeBytes {
        for at in 0..codes.len() {
            codes[at] = table[usize::from(codes[at] & 15)];
        }
        codes
    }

    #[inline(never)]
    fn add_products(mut sums: [i32; OUTPUTS], codes: CodeBytes, x: [i8; INPUTS]) -> [i32; OUTPUTS] {
        for output in 0..OUTPUTS {
            for input in 0..INPUTS {
                sums[output] += i32::from(codes[output * INPUTS + input]) * i32::from(x[input]);
            }
        }
        sums
    }

    #[inline(never)]
    fn add_bytes(mut sums: [i32; OUTPUTS], codes: CodeBytes, x: [i8; INPUTS]) -> [i32; OUTPUTS] {
        for output in 0..OUTPUTS {
            for input in 0..INPUTS {
                sums[output] += (i32::from(codes[output * INPUTS + input]) - 128) * i32::from(x[input]);
            }
        }
        sums
    }

    #[inline(always)]
    fn splat_sum(number: i32) -> [i32; OUTPUTS] {
        [number; OUTPUTS]
    }

    #[inline(always)]
    fn to_floats(sums: [i32; OUTPUTS]) -> [f32; OUTPUTS] {
        each(|output| sums[output] as f32)
    }

    #[inline(always)]
    fn splat(number: f32) -> [f32; OUTPUTS] {
        [number; OUTPUTS]
    }

    #[inline(always)]
    fn multiply(a: [f32; OUTPUTS], b: [f32; OUTPUTS]) -> [f32; OUTPUTS] {
        each(|output| a[output] * b[output])
    }

    #[inline(always)]
    fn fma(a: [f32; OUTPUTS], b: [f32; OUTPUTS], c: [f32; OUTPUTS]) -> [f32; OUTPUTS] {
        // Every 64-bit ARM has the fused one; elsewhere it may be a call of the C library.
        match cfg!(target_arch = "aarch64") {
            true => each(|output| a[output].mul_add(b[output], c[output])),
            false => each(|output| a[output] * b[output] + c[output]),
        }
    }

    #[inline(never)]
    fn widen_halves(halves: [u16; OUTPUTS]) -> [f32; OUTPUTS] {
        each(|output| half::f16::from_bits(halves[output]).to_f32())
    }

    #[inline(always)]
    fn widen_bfloats(halves: [u16; OUTPUTS]) -> [f32; OUTPUTS] {
        each(|output| f32::from_bits(u32::from(halves[output]) << 16))
    }

    #[inline(always)]
    fn widen_bytes(bytes: [i8; OUTPUTS]) -> [f32; OUTPUTS] {
        each(|output| f32::from(bytes[output]))
    }

    #[inline(always)]
    fn store(floats: [f32; OUTPUTS]) -> [f32; OUTPUTS] {
        floats
    }
}

/// Computes every lane; see [`level::each`](super::level::each).
#[inline(always)]
fn each(number: impl Fn(usize) -> f32) -> [f32; OUTPUTS] {
    let mut lanes = [0.0; OUTPUTS];
    for output in 0..OUTPUTS {
        lanes[output] = number(output);
    }
    lanes
}
