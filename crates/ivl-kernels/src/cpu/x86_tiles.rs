//! Tiles of x86-64 (AMX): products of matrices of bytes in registers of a kilobyte.
//!
//! Stable Rust has no intrinsics for them, so that the instructions are assembly.
#![expect(unsafe_code, reason = "instructions beyond the target's are used only after detecting them")]

use std::arch::asm;

use super::detected::Detected;
use super::integer_level::{OUTPUTS, TILE_ROWS, TileSums};

/// Whether this processor has tiles of bytes, and the system lets this process use them.
pub(super) fn detected() -> bool {
    static DETECTED: Detected = Detected::new();
    DETECTED.one_of(&[false, true], || {
        if !cfg!(target_os = "linux") || std::env::var("IVL_CPU").is_ok_and(|level| level == "avx512") {
            return false;
        }
        let leaf = std::arch::x86_64::__cpuid_count(7, 0);
        // AMX-TILE and AMX-INT8.
        leaf.edx >> 24 & 3 == 3 && is_permitted()
    })
}

/// Asks the kernel of Linux for the state of tiles, for all threads of the process.
fn is_permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut status = ARCH_PRCTL;
    // SAFETY: the system call reads and writes no memory of the program. It is one of Linux, as the caller has found out.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    status == 0
}

/// What registers 0 to 5 hold, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row.
    columns: [u16; 16],
    rows: [u8; 16],
}

/// Prepares the registers of this thread for [`multiply`] with so many inputs, until [`release`].
pub(super) fn configure(inputs: usize) {
    let mut config =
        TileConfig { palette: 1, start_row: 0, reserved: [0; 14], columns: [0; 16], rows: [0; 16] };
    for first in [0, 3] {
        // Sums, rows, weights.
        config.columns[first..first + 3].copy_from_slice(&[64, inputs as u16, 64]);
        config.rows[first..first + 3].copy_from_slice(&[TILE_ROWS as u8, TILE_ROWS as u8, inputs as u8 / 4]);
    }
    // SAFETY: callers have asked `detected`; the configuration has the 64 bytes of its layout.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const config, options(nostack, readonly)) };
}

/// Leaves the registers of this thread empty, so that the system need not save them.
pub(super) fn release() {
    // SAFETY: callers have asked `detected`.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// The products of sixteen rows of `x`, each of them `stride` bytes after the one before, with the codes of sixteen outputs, in
/// steps of four inputs. `INPUTS` is the number for which the registers are [configured](configure); every second product takes other
/// registers.
#[inline(always)]
pub(super) fn multiply<const INPUTS: usize>(
    x: &[i8],
    stride: usize,
    codes: &[i8],
    sums: &mut TileSums,
    odd: bool,
) {
    assert!(x.len() >= (TILE_ROWS - 1) * stride + INPUTS && codes.len() >= INPUTS * OUTPUTS, "whole tiles");
    let (x, codes, sums) = (x.as_ptr(), codes.as_ptr(), sums.0.as_mut_ptr());
    macro_rules! multiply {
        ($sums:literal, $x:literal, $codes:literal) => {
            asm!(
                concat!("tilezero ", $sums),
                concat!("tileloadd ", $x, ", [{x} + {stride}*1]"),
                concat!("tileloadd ", $codes, ", [{codes} + {line}*1]"),
                concat!("tdpbssd ", $sums, ", ", $x, ", ", $codes),
                concat!("tilestored [{sums} + {line}*1], ", $sums),
                x = in(reg) x,
                stride = in(reg) stride,
                codes = in(reg) codes,
                sums = in(reg) sums,
                line = in(reg) 64usize,
                options(nostack, preserves_flags)
            )
        };
    }
    // SAFETY: callers have asked `detected`. They are configured for these sizes, of which the
    // assertion found enough bytes; the sums have the kilobyte that is written.
    unsafe {
        if odd {
            multiply!("tmm3", "tmm4", "tmm5");
        } else {
            multiply!("tmm0", "tmm1", "tmm2");
        }
    }
}
