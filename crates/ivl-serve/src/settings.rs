//! Limits and access of a server.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::error::Error;

/// Address, keys and limits of a server. Start from [`Settings::default`] and change fields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The address to listen on. Anything but loopback needs a key, or [`open`](Self::open).
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Keys that are accepted; without any, requests need no key.
    pub api_keys: Vec<String>,
    /// Accept requests from other machines without a key.
    pub open: bool,
    /// Names beside the local ones under which clients may call a server on loopback without a key: those of a proxy.
    pub allowed_hosts: Vec<String>,
    /// Sites whose pages may use the API from a browser, as `https://app.example`; `*` for all.
    pub cors_origins: Vec<String>,
    /// Write a line for each request to standard error.
    pub access_log: bool,
    /// Proxies whose `X-Forwarded-For` says who the client is: addresses or networks.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once.
    pub max_connections: usize,
    /// Texts written at once: rows of the batch.
    pub max_rows: usize,
    /// Texts written and waiting at once; requests beyond are refused with 429.
    pub max_queue: usize,
    /// Texts of one client that wait or are written at once; without it, half of `max_queue`. Clients are told apart by
    /// their API key, else by address.
    pub max_queue_per_client: Option<usize>,
    /// Bytes of a request.
    pub max_body: usize,
    /// Texts of one request: prompts times `n`.
    pub max_choices: usize,
    /// New tokens for each text.
    pub max_tokens: usize,
    /// Bytes for the caches of the texts being written, counted at the length of the longest; buffers that grow may
    /// take up to twice as much.
    pub cache_bytes: usize,
    /// Bytes for caches of prompts that were read, reused by prompts with the same beginning; 0 keeps none.
    pub prefix_bytes: usize,
    /// How long a client may take to send a request or to receive a part of an answer.
    pub client_timeout: Duration,
    /// How long requests may continue after the first signal to stop.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            api_keys: Vec::new(),
            open: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            access_log: false,
            trusted_proxies: Vec::new(),
            max_connections: 1024,
            max_rows: 32,
            max_queue: 1024,
            max_queue_per_client: None,
            max_body: 8 << 20,
            max_choices: 128,
            max_tokens: 4096,
            cache_bytes: 4 << 30,
            prefix_bytes: 1 << 30,
            client_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_mins(1),
        }
    }
}

impl Settings {
    /// Texts of one client that wait or are written at once.
    pub(crate) fn max_client_queue(&self) -> usize {
        self.max_queue_per_client.unwrap_or(self.max_queue.div_ceil(2))
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for the first that is 0, [`Error::Open`] for an address that others can reach without a
    /// key.
    pub fn validate(&self) -> Result<(), Error> {
        let limits = [
            ("max_connections", self.max_connections),
            ("max_rows", self.max_rows),
            ("max_queue", self.max_queue),
            ("max_queue_per_client", self.max_queue_per_client.unwrap_or(1)),
            ("max_body", self.max_body),
            ("max_choices", self.max_choices),
            ("max_tokens", self.max_tokens),
            ("cache_bytes", self.cache_bytes),
        ];
        if let Some(&(name, got)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return Err(Error::InvalidSetting { name, expected: "at least 1", got });
        }
        if !self.host.is_loopback() && self.api_keys.is_empty() && !self.open {
            return Err(Error::Open { address: (self.host, self.port).into() });
        }
        Ok(())
    }
}
