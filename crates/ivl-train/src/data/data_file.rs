//! Files as records. The first bytes of a file, not its name, decide which kind it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ivl_models::FileError;

use super::json_array::Elements;
use super::jsonl::Lines;
use super::parquet::Table;
use super::place::Place;
use super::record::{Bytes, Record};
use crate::Error;

/// The records of a file, one at a time.
pub(super) enum DataFile {
    /// One object a line.
    Lines(Lines),
    /// One array of objects.
    Elements(Elements),
    /// A table.
    Table(Box<Table>),
}

impl DataFile {
    /// Opens a file; of a table only the given columns are read, if there is a choice.
    pub(super) fn open(path: &Path, columns: Option<&[String]>) -> Result<Self, Error> {
        let io = |source| FileError::Io { action: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let magic = first_bytes(&mut file).map_err(io)?;
        if magic == *b"PAR1" {
            return Table::open(path.to_owned(), file, columns).map(Box::new).map(Self::Table);
        }
        let bytes: Box<dyn Read> = match magic {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            _ => Box::new(file),
        };
        let mut bytes = BufReader::new(bytes);
        skip_blank(&mut bytes).map_err(io)?;
        let first = bytes.fill_buf().map_err(io)?.first();
        let path: PathBuf = path.to_owned();
        Ok(match first {
            Some(b'[') => Self::Elements(Elements::new(path, bytes)),
            _ => Self::Lines(Lines::new(path, bytes)),
        })
    }
}

impl Iterator for DataFile {
    type Item = Result<(Place, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Elements(elements) => elements.next(),
            Self::Table(table) => table.next(),
        }
    }
}

fn first_bytes(file: &mut File) -> std::io::Result<[u8; 4]> {
    let mut magic = Vec::with_capacity(4);
    Read::by_ref(file).take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    magic.resize(4, 0);
    Ok([magic[0], magic[1], magic[2], magic[3]])
}

/// Skips a byte order mark and spaces, but no line: they are counted.
fn skip_blank(bytes: &mut Bytes) -> std::io::Result<()> {
    if bytes.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        bytes.consume(3);
    }
    while bytes.fill_buf()?.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        bytes.consume(1);
    }
    Ok(())
}
