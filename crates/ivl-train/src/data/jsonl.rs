//! JSON lines.

use std::io::{BufRead, Read};
use std::path::PathBuf;

use ivl_models::FileError;

use super::place::Place;
use super::record::{Bytes, LONGEST_RECORD, Record};
use crate::Error;

/// One object a line; empty lines are skipped.
pub(super) struct Lines {
    path: PathBuf,
    bytes: Bytes,
    number: usize,
    line: Vec<u8>,
}

impl Lines {
    /// The lines after the first `skipped`, which were blank.
    pub(super) fn new(path: PathBuf, bytes: Bytes, skipped: usize) -> Self {
        Self { path, bytes, number: skipped, line: Vec::new() }
    }

    /// The next line that is not blank, or `None` at the end.
    fn read(&mut self) -> Result<Option<Record>, Error> {
        loop {
            self.line.clear();
            self.number += 1;
            let bound = LONGEST_RECORD as u64 + 1;
            let read = self.bytes.by_ref().take(bound).read_until(b'\n', &mut self.line);
            let read =
                read.map_err(|source| FileError::Io { action: "read", path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            if read > LONGEST_RECORD {
                return Err(Error::LongRecord { place: self.place(), limit: LONGEST_RECORD });
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                let record = serde_json::from_slice(&self.line);
                return record.map(Some).map_err(|source| Error::Json { place: self.place(), source });
            }
        }
    }

    fn place(&self) -> Place {
        Place { path: self.path.clone(), unit: "line", number: self.number }
    }
}

impl Iterator for Lines {
    type Item = Result<(Place, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map(|record| record.map(|record| (self.place(), record))).transpose()
    }
}
