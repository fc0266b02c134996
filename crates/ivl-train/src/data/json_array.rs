//! A JSON array of objects, read element by element: the array itself may be larger than memory.

use std::io::{BufRead, ErrorKind};
use std::path::PathBuf;

use ivl_models::FileError;

use super::place::Place;
use super::record::{Bytes, LONGEST_RECORD, Record};
use crate::Error;

/// The elements of one array.
pub(super) struct Elements {
    path: PathBuf,
    bytes: Bytes,
    number: usize,
    element: Vec<u8>,
    ended: bool,
}

impl Elements {
    /// The bytes begin with the opening bracket.
    pub(super) fn new(path: PathBuf, mut bytes: Bytes) -> Self {
        bytes.consume(1);
        Self { path, bytes, number: 0, element: Vec::new(), ended: false }
    }

    fn place(&self) -> Place {
        Place { path: self.path.clone(), unit: "row", number: self.number }
    }

    fn read(&mut self) -> Result<Option<Record>, Error> {
        self.number += 1;
        self.cut()?;
        let blank = self.element.iter().all(u8::is_ascii_whitespace);
        if blank && self.ended && self.number == 1 {
            return Ok(None);
        }
        serde_json::from_slice(&self.element)
            .map(Some)
            .map_err(|source| Error::Json { place: self.place(), source })
    }

    /// Copies bytes up to the comma or bracket that ends the element.
    fn cut(&mut self) -> Result<(), Error> {
        self.element.clear();
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        loop {
            let Some(byte) = self.byte()? else {
                return Err(Error::OpenArray { place: self.place() });
            };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => return Ok(()),
                b']' if depth == 0 => {
                    self.ended = true;
                    return Ok(());
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.element.push(byte);
            if self.element.len() > LONGEST_RECORD {
                return Err(Error::LongRecord { place: self.place(), limit: LONGEST_RECORD });
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, Error> {
        loop {
            match self.bytes.fill_buf() {
                Ok(buffer) => {
                    let byte = buffer.first().copied();
                    self.bytes.consume(usize::from(byte.is_some()));
                    return Ok(byte);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("read", &self.path)(error).into()),
            }
        }
    }

    /// Nothing but blanks may follow the array.
    fn close(&mut self) -> Option<Error> {
        loop {
            match self.byte() {
                Ok(Some(byte)) if byte.is_ascii_whitespace() => {}
                Ok(None) => return None,
                Ok(Some(_)) => return Some(Error::AfterArray { path: self.path.clone() }),
                Err(error) => return Some(error),
            }
        }
    }
}

impl Iterator for Elements {
    type Item = Result<(Place, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return self.close().map(Err);
        }
        match self.read() {
            Ok(Some(record)) => Some(Ok((self.place(), record))),
            Ok(None) => self.close().map(Err),
            Err(error) => Some(Err(error)),
        }
    }
}
