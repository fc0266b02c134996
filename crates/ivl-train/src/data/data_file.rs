//! Files as records. The first bytes of a file decide which kind it is; only a CSV table is told by its name, since any text
//! could be one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ivl_models::FileError;

use super::csv::DelimitedTable;
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
    /// A Parquet table.
    Table(Box<Table>),
    /// A CSV or TSV table.
    Delimited(Box<DelimitedTable>),
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
            [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file).map_err(io)?),
            _ => Box::new(file),
        };
        let mut bytes = BufReader::new(bytes);
        let lines = skip_blank(&mut bytes).map_err(io)?;
        let first = bytes.fill_buf().map_err(io)?.first();
        let delimiter = delimiter(path);
        let path: PathBuf = path.to_owned();
        Ok(match (first, delimiter) {
            (Some(b'['), _) => Self::Elements(Elements::new(path, bytes)),
            (Some(b'{'), _) | (_, None) => Self::Lines(Lines::new(path, bytes, lines)),
            (_, Some(delimiter)) => Self::Delimited(Box::new(DelimitedTable::new(path, bytes, delimiter))),
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
            Self::Delimited(table) => table.next(),
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

/// The column separator of a table with this name, compressed or not; `None` for other names.
fn delimiter(path: &Path) -> Option<u8> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = COMPRESSED.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

/// How the names of compressed files end.
const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// Skips a byte order mark and blanks. Returns the lines that were skipped.
fn skip_blank(bytes: &mut Bytes) -> std::io::Result<usize> {
    let mut lines = 0;
    if bytes.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        bytes.consume(3);
    }
    while let Some(byte) = bytes.fill_buf()?.first().filter(|byte| byte.is_ascii_whitespace()) {
        lines += usize::from(*byte == b'\n');
        bytes.consume(1);
    }
    Ok(lines)
}
