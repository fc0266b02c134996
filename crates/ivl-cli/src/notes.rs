//! Notes on standard error. A closed standard error loses a note, never a run.

use std::io::Write;

/// Prints a line on standard error, if anyone can read it.
pub fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
