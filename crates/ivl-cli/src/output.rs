//! Standard output, whose reader may leave early (`ivl .. | head`).

use std::fmt;
use std::io::{Error, ErrorKind, Result, StdoutLock, Write};

/// Standard output. An error of it is told apart from those of files and connections.
pub struct Output(StdoutLock<'static>);

/// Standard output, for this thread only while it is held.
pub fn stdout() -> Output {
    Output(std::io::stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(closed)
    }
}

/// The reader of standard output has left.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output has left")
    }
}

impl std::error::Error for Closed {}

fn closed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Error::new(ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

/// Whether an error says that the reader of standard output has left: that is no failure.
pub fn is_closed(error: &anyhow::Error) -> bool {
    let closed =
        |cause: &Error| cause.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Closed>);
    error.chain().any(|cause| cause.downcast_ref().is_some_and(closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_a_failure() {
        let broken = || Error::from(ErrorKind::BrokenPipe);
        assert!(is_closed(&anyhow::Error::from(closed(broken())).context("printing")));
        assert!(!is_closed(&anyhow::Error::from(broken()).context("downloading")));
        assert!(!is_closed(&anyhow::Error::from(closed(ErrorKind::WriteZero.into()))));
    }
}
