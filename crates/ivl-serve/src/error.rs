//! What can keep the server from starting or running.

use std::net::SocketAddr;

/// What can go wrong before and beside the requests; a bad request is an [`ApiError`](crate::ApiError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two models would answer to one name.
    #[error("two models are called `{id}`; name values apart with --value ID=VALUE")]
    SameId {
        /// The name.
        id: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another server running there? Choose another with --port")]
    Listen {
        /// Host and port.
        address: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The server would be open to the network without a key.
    #[error(
        "{address} can be reached from other machines; give --api-key, or --open if everyone may use the models"
    )]
    Open {
        /// The address asked for.
        address: SocketAddr,
    },
    /// A setting outside its range.
    #[error("`{name}` is {got}, expected {expected}")]
    InvalidSetting {
        /// Name of the setting.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        got: usize,
    },
    /// Threads, signals or sockets are not to be had.
    #[error("the operating system refuses {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}
