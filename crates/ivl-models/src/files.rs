//! Small files of a checkpoint, read with a bound and written beside and renamed.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// Largest JSON file that is read: an index of many shards is the largest honest one.
const LARGEST_JSON: u64 = 64 << 20;

/// Reads a JSON object.
pub(crate) fn read_json(path: &Path) -> Result<Map<String, Value>, Error> {
    let got = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if got > LARGEST_JSON {
        return Err(Error::TooLarge { path: path.to_owned(), what: "a JSON file", got, limit: LARGEST_JSON });
    }
    let text = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Writes a file whole or not at all: beside its place first, then renamed.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind then.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let done = fs::File::create(partial).and_then(|file| {
        // A writer may put a file of its own there, private to its user; the result is as public as any new file.
        let permissions = file.metadata()?.permissions();
        write(partial)?;
        fs::set_permissions(partial, permissions)?;
        fs::File::open(partial)?.sync_all()?;
        fs::rename(partial, path)
    });
    done.map_err(|source| {
        let _ = fs::remove_file(partial);
        Error::Io { action: "write", path: path.to_owned(), source }
    })
}

/// Writes text or bytes whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole(path, |partial| fs::File::create(partial)?.write_all(bytes))
}
