//! The free memory of devices.

use crate::device::Placement;

/// Free bytes of every device, or 1 of each if one of them does not tell: layers are then placed as if all had as much.
pub(super) fn free_memory<'a>(devices: impl Iterator<Item = &'a Placement>) -> Vec<f64> {
    let free: Vec<Option<u64>> = devices.map(|device| free_bytes(device.name())).collect();
    let known: Option<Vec<f64>> = free.iter().map(|bytes| bytes.map(|bytes| bytes as f64)).collect();
    known.filter(|bytes| bytes.iter().all(|&bytes| bytes > 0.0)).unwrap_or_else(|| vec![1.0; free.len()])
}

/// The driver of CUDA tells it; neither wgpu nor the CPU backend does.
#[cfg(feature = "cuda")]
fn free_bytes(device: &str) -> Option<u64> {
    let index = match device {
        "cuda" => 0,
        other => other.strip_prefix("cuda:")?.parse().ok()?,
    };
    let (free, _) = cudarc::driver::CudaContext::new(index).ok()?.mem_get_info().ok()?;
    Some(free as u64)
}

#[cfg(not(feature = "cuda"))]
fn free_bytes(_: &str) -> Option<u64> {
    None
}
