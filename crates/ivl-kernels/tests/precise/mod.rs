//! Helpers of tests against double precision.

#[cfg(target_arch = "x86_64")]
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(-2.0f32..2.0, len)
}

#[allow(dead_code, reason = "not every file of tests compares with it")]
/// Every number within `tolerance`, relative to itself or to `scale`.
pub(crate) fn close(got: &[f32], expected: &[f64], scale: f64, tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*got) - expected).abs();
        prop_assert!(error <= tolerance * scale.max(expected.abs()), "{index}: {got}, not {expected}");
    }
    Ok(())
}

/// Runs this file's tests again at the levels of instructions that are not the processor's highest.
#[cfg(target_arch = "x86_64")]
pub(crate) fn pass_at_lower_levels() {
    if std::env::var_os("IVL_CPU").is_some() {
        return;
    }
    for level in ["base", "avx2", "avxvnni", "avx512"] {
        let tests = std::env::current_exe().expect("this file's tests");
        let done = Command::new(tests).env("IVL_CPU", level).output().expect("runs");
        assert!(done.status.success(), "{level}: {}", String::from_utf8_lossy(&done.stdout));
    }
}

#[allow(dead_code, reason = "not every file of tests compares bits")]
/// Whether the tests run with fused multiply-add, whose results have the same bits on x86-64 and 64-bit ARM.
pub(crate) fn has_fused_multiply_add() -> bool {
    #[cfg(target_arch = "x86_64")]
    let fused = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && std::env::var("IVL_CPU").as_deref() != Ok("base");
    #[cfg(not(target_arch = "x86_64"))]
    let fused = cfg!(target_arch = "aarch64");
    fused
}
