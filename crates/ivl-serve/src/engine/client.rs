//! Who sends jobs.

use std::net::IpAddr;

/// Who sent a job: clients take turns in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// By the digest of the API key.
    Key([u8; 32]),
    /// By address.
    Address(IpAddr),
}
