//! CSV and TSV tables with a header.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;

use super::place::Place;
use super::record::{Bytes, LONGEST_RECORD, Record};
use crate::Error;

/// The rows of a table; every value is a text.
pub(super) struct DelimitedTable {
    path: PathBuf,
    reader: csv::Reader<Bounded>,
    left: Rc<Cell<usize>>,
    headers: Option<csv::StringRecord>,
    number: usize,
}

/// Reads at most `left` bytes: a quote that is never closed must not read the whole file into memory.
struct Bounded {
    bytes: Bytes,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let most = buffer.len().min(self.left.get());
        let read = self.bytes.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read);
        Ok(read)
    }
}

impl DelimitedTable {
    pub(super) fn new(path: PathBuf, bytes: Bytes, delimiter: u8) -> Self {
        let left = Rc::new(Cell::new(LONGEST_RECORD));
        let bounded = Bounded { bytes, left: left.clone() };
        let reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bounded);
        Self { path, reader, left, headers: None, number: 0 }
    }

    fn place(&self) -> Place {
        Place { path: self.path.clone(), unit: "row", number: self.number }
    }

    fn read(&mut self) -> Result<Option<Record>, csv::Error> {
        self.number += 1;
        let headers = match &self.headers {
            Some(headers) => headers,
            None => self.headers.insert(unique(self.reader.headers()?.clone())?),
        };
        self.left.set(LONGEST_RECORD);
        let mut row = csv::StringRecord::new();
        if !self.reader.read_record(&mut row)? {
            return Ok(None);
        }
        let fields = headers.iter().zip(&row);
        Ok(Some(fields.map(|(name, text)| (name.trim().to_owned(), Value::from(text))).collect()))
    }
}

/// Refuses a header with a name twice: one of the columns would be lost.
fn unique(headers: csv::StringRecord) -> Result<csv::StringRecord, csv::Error> {
    let mut seen = BTreeSet::new();
    match headers.iter().map(str::trim).find(|name| !name.is_empty() && !seen.insert(*name)) {
        None => Ok(headers),
        Some(name) => {
            let reason = format!("the column `{name}` occurs twice in the header");
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason).into())
        }
    }
}

impl Iterator for DelimitedTable {
    type Item = Result<(Place, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(record) => record.map(|record| Ok((self.place(), record))),
            Err(_) if self.left.get() == 0 => {
                Some(Err(Error::LongRecord { place: self.place(), limit: LONGEST_RECORD }))
            }
            Err(source) => Some(Err(Error::Csv { place: self.place(), source: Box::new(source) })),
        }
    }
}
