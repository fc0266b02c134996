//! Small files: read with a bound, written whole or not at all.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::DeserializeOwned;

/// Largest JSON file that is read. The index of many shards is the largest in practice.
const LARGEST_JSON: u64 = 64 << 20;

/// Errors of reading and writing a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A file larger than any of its kind.
    #[error("`{}` has {got} bytes, more than the {limit} that ivl reads for {what}", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its content.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The bound.
        limit: u64,
    },
    /// A JSON file that is not JSON, or not an object with the fields that are read.
    #[error("`{}` is not a JSON object", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where it is broken.
        #[source]
        source: serde_json::Error,
    },
}

impl FileError {
    /// The conversion of an I/O error, for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Reads a file of at most `limit` bytes; `what` it holds is for the message.
pub(crate) fn read_bounded(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, FileError> {
    let got = fs::metadata(path).map_err(FileError::io("read", path))?.len();
    if got > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), what, got, limit });
    }
    fs::read(path).map_err(FileError::io("read", path))
}

/// Reads a text of at most `limit` bytes; `what` it is is for the message.
///
/// # Errors
/// [`FileError::Io`], also for bytes that are not UTF-8, and [`FileError::TooLarge`].
pub fn read_text(path: &Path, what: &'static str, limit: u64) -> Result<String, FileError> {
    let bytes = read_bounded(path, what, limit)?;
    String::from_utf8(bytes).map_err(|error| {
        FileError::io("read", path)(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    })
}

/// Reads a JSON object.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = read_bounded(path, "a JSON file", LARGEST_JSON)?;
    serde_json::from_slice(&text).map_err(|source| FileError::Json { path: path.to_owned(), source })
}

/// Writes a file completely or not at all: under a temporary name, then renamed. After it returns, the file survives a power failure.
///
/// # Errors
/// [`FileError::Io`]; nothing is left in the directory then.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), FileError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let done = fs::File::create(partial).and_then(|file| {
        // A writer may put a file of its own there, private to its user; the result is as public as any new file.
        let permissions = file.metadata()?.permissions();
        write(partial)?;
        fs::set_permissions(partial, permissions)?;
        fs::File::open(partial)?.sync_all()?;
        abort_at_rename();
        fs::rename(partial, path)?;
        sync_directory(path)
    });
    done.map_err(|source| {
        let _ = fs::remove_file(partial);
        FileError::Io { action: "write", path: path.to_owned(), source }
    })
}

/// Aborts the process in place of the rename that the environment variable `IVL_ABORT_AT_RENAME` counts to, so that tests can
/// kill a run between the files of a checkpoint.
fn abort_at_rename() {
    static LEFT: OnceLock<Option<AtomicUsize>> = OnceLock::new();
    let parse = || std::env::var("IVL_ABORT_AT_RENAME").ok()?.parse().ok().map(AtomicUsize::new);
    if let Some(left) = LEFT.get_or_init(parse)
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Makes a rename in the directory of `path` permanent.
#[cfg(unix)]
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir)?.sync_all()
}

/// Other systems cannot open a directory to synchronise it.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other version can fail")]
fn sync_directory(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Writes text or bytes whole or not at all.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_whole(path, |partial| fs::File::create(partial)?.write_all(bytes))
}
