//! What the process holds of memory, and how it treats what was freed.

use burn::tensor::Device;
use serde_json::{Value, json};

/// Memory that is held at some moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Resident memory of the process in MiB; none where the system does not tell.
    pub resident: Option<f64>,
    /// What the device's allocator has reserved, in MiB; none for a CPU, whose tensors are resident.
    pub device: Option<f64>,
}

impl Memory {
    /// At this moment.
    pub fn now(device: &Device) -> Self {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        Self {
            resident: memory_stats::memory_stats().map(|stats| mib(stats.physical_mem as f64)),
            device: device.memory_pool_usage().map(|pool| mib(pool.bytes_reserved as f64)),
        }
    }

    /// What the tensors live in: the device's memory, or the process's.
    pub fn of_tensors(self) -> Option<f64> {
        self.device.or(self.resident)
    }

    pub fn json(self) -> Value {
        json!({ "resident_mib": self.resident, "device_mib": self.device })
    }
}

/// Tensors of a pass come and go by the gigabyte. By default the C library gives each large one back to the kernel, which
/// clears the next one again, page by page: up to half of a training step. Freed memory is kept instead; the peak is the
/// same.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, i32::MAX)] {
        #[expect(unsafe_code, reason = "the C library's settings have no safe interface")]
        // SAFETY: called once, before any thread starts; both options take any number.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}
