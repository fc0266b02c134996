//! Errors that keep the server from starting.

use std::net::SocketAddr;

/// Errors while the server starts. Errors of requests go to the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two models would answer to one name.
    #[error("two models are called `{id}`; expected a name of its own for each")]
    SameId {
        /// The name.
        id: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; if another server uses the port, choose another one")]
    Listen {
        /// Host and port.
        address: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The server would be open to the network without a key.
    #[error(
        "{address} can be reached from other machines, and no API key is set; set one, or allow requests without a key"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// A setting outside its range.
    #[error("`{name}` is {got}, expected {expected}")]
    InvalidSetting {
        /// Name of the setting.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The given value.
        got: usize,
    },
    /// The system refuses threads, signals or sockets.
    #[error("the operating system refuses {what}")]
    System {
        /// The refused resource.
        what: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}
