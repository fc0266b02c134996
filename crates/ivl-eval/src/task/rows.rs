//! Rows of a data file: one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use ivl_models::FileError;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, FileLine};

/// Largest data file that is read: evaluation sets are held in memory.
const LARGEST_FILE: u64 = 1 << 30;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// A row and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Its fields.
    pub fields: Map<String, Value>,
    /// Its place.
    pub place: FileLine,
}

/// Reads all rows of a file, with the SHA-256 of its bytes. Empty lines are skipped.
///
/// # Errors
/// [`Error::File`], [`Error::LongLine`], [`Error::Json`], [`Error::NoRows`].
pub(super) fn read_rows(path: &Path) -> Result<(Vec<TaskRow>, String), Error> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let got = file.metadata().map_err(FileError::io("read", path))?.len();
    if got > LARGEST_FILE {
        let what = "the rows of a task";
        return Err(FileError::TooLarge { path: path.to_owned(), what, got, limit: LARGEST_FILE }.into());
    }
    let mut reader = BufReader::new(file);
    let (mut rows, mut digest, mut bytes) = (Vec::new(), Sha256::new(), Vec::new());
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(FileError::io("read", path))? as u64;
        let place = || FileLine { path: path.to_owned(), line };
        if read == 0 {
            break;
        }
        if read > LONGEST_LINE {
            return Err(Error::LongLine { place: place(), limit: LONGEST_LINE });
        }
        digest.update(&bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let fields =
            serde_json::from_slice(&bytes).map_err(|source| Error::Json { place: place(), source })?;
        rows.push(TaskRow { fields, place: place() });
    }
    if rows.is_empty() {
        return Err(Error::NoRows { path: path.to_owned() });
    }
    Ok((rows, hex::encode(digest.finalize())))
}

/// The path of a data file, which may not lead out of the folder of the task.
pub(super) fn data_path(task: &Path, key: &'static str, data: &Path) -> Result<PathBuf, Error> {
    let folder = match task.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let escapes = || Error::Escapes { path: task.to_owned(), key, got: data.to_owned() };
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !data.components().all(plain) {
        return Err(escapes());
    }
    let path = folder.join(data);
    let (Ok(real), Ok(folder)) = (path.canonicalize(), folder.canonicalize()) else {
        return Err(Error::NoData { path: task.to_owned(), key, data: path });
    };
    // A link may lead out where the words do not.
    if real.starts_with(folder) { Ok(path) } else { Err(escapes()) }
}
