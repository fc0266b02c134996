//! Instructions of NEON that the compiler does not find in plain loops.

use std::arch::aarch64::{float16x4_t, float32x4_t, vcvt_f32_f16};
use std::mem::transmute;

use super::level::LANES;

/// See [`Level::widen_f16`](super::level::Level::widen_f16). The compiler makes a call for each number of it.
#[expect(unsafe_code, reason = "arrays have to become vectors")]
#[inline(always)]
pub(super) fn widen_f16(halves: &[u16; LANES]) -> [f32; LANES] {
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
