//! The instruction sets that kernels are compiled for, and the choice among them at run time.
//!
//! Kernels are loops over [`LANES`] numbers at a time, compiled once for each [`Level`]. The order of operations is the same at
//! each, and so are the results wherever there is a fused multiply-add.
//!
//! `pulp`, which `gemm` brings in, does the same job with vectors as wide as the level's registers. A sum then has eight
//! partial sums with AVX2 and sixteen with AVX-512, and its bits depend on the machine. Here every level has 32.

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod detected;
mod integer_level;
mod level;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon_integers;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_integers;
#[cfg(target_arch = "x86_64")]
mod x86_interleaving;
#[cfg(target_arch = "x86_64")]
mod x86_tiles;

pub(crate) use integer_level::{
    CodeBytes, INPUTS, IntegerKernel, IntegerLevel, OUTPUTS, PortableIntegers, TILE_ROWS, TileSums,
};
pub(crate) use level::{CACHE_LINE, Kernel, LANES, Level, each, max, padded, sum};

/// Runs a kernel at the highest level of this processor, or at the one that `IVL_CPU` (`base`, `avx2`) limits it to.
pub(crate) fn run(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    x86::run(kernel);
    #[cfg(not(target_arch = "x86_64"))]
    kernel.run::<portable::Portable>();
}

/// Runs a kernel for whole numbers at the highest level of this processor, or at the one that `IVL_CPU` (`base`, `avx2`,
/// `avxvnni`, `avx512` without tiles; on 64-bit ARM `base`, `dotprod`) limits it to.
pub(crate) fn run_integers(kernel: impl IntegerKernel) {
    #[cfg(target_arch = "x86_64")]
    x86_integers::run(kernel);
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    neon_integers::run(kernel);
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
    kernel.run::<integer_level::PortableIntegers>();
}

/// Starts to load what lies some way after `weights` in memory, so that it has arrived when it is read. The processor does so by
/// itself, but not far enough to keep a product of several rows busy.
#[inline(always)]
pub(crate) fn prefetch<W>(weights: &W) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(weights);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// As [`prefetch`], for one line of the cache, which is brought into the second cache only: a product that reads weights once, and
/// with little arithmetic, would fill the first cache's list of lines that it waits for.
#[inline(always)]
pub(crate) fn prefetch_far<W>(weights: &W) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch_far(weights);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// Starts to load the line of the cache that lies so many bytes after `weights`.
#[inline(always)]
pub(crate) fn prefetch_ahead<W>(weights: &W, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch_ahead(weights, bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (weights, bytes);
}

/// Starts to load the line of the cache at an address, into the second cache. Nothing need be there.
#[inline(always)]
pub(crate) fn prefetch_address(address: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch_address(address);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
