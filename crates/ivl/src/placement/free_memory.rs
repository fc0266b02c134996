//! The free memory of a device.

/// Bytes. The driver of CUDA tells them; neither wgpu nor the CPU backend does.
#[cfg(feature = "cuda")]
pub(super) fn free_bytes(device: &str) -> Option<u64> {
    let index = match device {
        "cuda" => 0,
        other => other.strip_prefix("cuda:")?.parse().ok()?,
    };
    let (free, _) = cudarc::driver::CudaContext::new(index).ok()?.mem_get_info().ok()?;
    Some(free as u64)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn free_bytes(_: &str) -> Option<u64> {
    None
}
