//! The memory of the process.

use burn::tensor::Device;
use serde_json::{Value, json};

/// Memory that is held at some moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Resident memory of the process in MiB; `None` where the system does not tell.
    pub resident: Option<f64>,
    /// Memory reserved by the device's allocator, in MiB; `None` for a CPU, whose tensors are resident.
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

    /// The memory of the tensors: the device's, or the process's.
    pub fn of_tensors(self) -> Option<f64> {
        self.device.or(self.resident)
    }

    /// As an object with `resident_mib` and `device_mib`.
    pub fn json(self) -> Value {
        json!({ "resident_mib": self.resident, "device_mib": self.device })
    }
}
