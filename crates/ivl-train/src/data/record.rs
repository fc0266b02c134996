//! One row of a data file, whatever its kind.

use std::io::{BufReader, Read};

use serde_json::{Map, Value};

/// Longest record that is read, in bytes.
pub(super) const LONGEST_RECORD: usize = 64 << 20;

/// The fields of a row.
pub(super) type Record = Map<String, Value>;

/// The bytes of a text file, decompressed if need be.
pub(super) type Bytes = BufReader<Box<dyn Read>>;
