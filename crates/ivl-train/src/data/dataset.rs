//! The sources of a run: files of one format each, read as a stream of rows.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ivl_models::FileError;
use sha2::{Digest, Sha256};

use super::data_file::DataFile;
use super::demonstration::Demonstration;
use super::place::Place;
use super::recognition::{self, RowKind};
use super::row_reader;
use crate::Error;
use crate::config::{Format, SourceConfig};

/// A demonstration or a pair, and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its place.
    pub place: Place,
    /// Its content.
    pub demonstration: Demonstration,
}

/// Some sources, and a fingerprint of the bytes of their files.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// In the order of the configuration.
    pub sources: Vec<Source>,
    /// SHA-256 over files and the way that they are read, in hexadecimal. Weights have no part in it.
    pub fingerprint: String,
}

impl Dataset {
    /// Finds the files of every source and recognises what they hold. Nothing is kept of their rows.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::EmptySource`], or what [`recognition`](Source::format) refuses: [`Error::UnknownFormat`],
    /// [`Error::AmbiguousFormat`], [`Error::Record`].
    pub fn open(configs: &[SourceConfig]) -> Result<Self, Error> {
        Self::open_kind(configs, RowKind::Demonstrations)
    }

    /// [`open`](Self::open) for pairs of answers to compare.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::NoPair`], [`Error::FormatOfObjective`].
    pub fn open_pairs(configs: &[SourceConfig]) -> Result<Self, Error> {
        Self::open_kind(configs, RowKind::Pairs)
    }

    /// [`open`](Self::open) for rows to be answered: prompts, or demonstrations whose answers do not matter.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::FormatOfObjective`].
    pub fn open_prompts(configs: &[SourceConfig]) -> Result<Self, Error> {
        Self::open_kind(configs, RowKind::Prompts)
    }

    fn open_kind(configs: &[SourceConfig], kind: RowKind) -> Result<Self, Error> {
        let sources =
            configs.iter().map(|config| Source::open(config, kind)).collect::<Result<Vec<_>, _>>()?;
        let mut hash = Sha256::new();
        for source in &sources {
            hash.update(format!(
                "{:?} {:?} {:?}\n",
                source.format, source.config.columns, source.config.roles
            ));
            for file in &source.files {
                let io = |source| FileError::Io { action: "read", path: file.clone(), source };
                hash.update(File::open(file).and_then(sha256).map_err(io)?);
            }
        }
        Ok(Self { sources, fingerprint: hex::encode(hash.finalize()) })
    }
}

/// SHA-256 of a stream.
fn sha256(mut bytes: impl Read) -> std::io::Result<[u8; 32]> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Files of one format.
#[derive(Debug, Clone)]
pub struct Source {
    config: SourceConfig,
    files: Vec<PathBuf>,
    format: Format,
}

impl Source {
    fn open(config: &SourceConfig, kind: RowKind) -> Result<Self, Error> {
        let (files, mut broken) = (files(&config.path)?, None);
        for file in &files {
            for record in DataFile::open(file, None)? {
                match record {
                    Ok((place, record)) => {
                        let format = recognition::recognise(config, &record, &place, kind)?;
                        return Ok(Self { config: config.clone(), files, format });
                    }
                    // Whether a broken row ends the run is decided when it is read.
                    Err(error) if error.is_about_a_row() => broken = broken.or(Some(error)),
                    Err(error) => return Err(error),
                }
            }
        }
        Err(broken.unwrap_or_else(|| Error::EmptySource { path: config.path.clone() }))
    }

    /// The format of the rows. Recognised by the fields of the first one, after [`SourceConfig::columns`] has renamed them:
    ///
    /// 1. a format fits if the row has all the fields that it requires, and it knows every renamed field;
    /// 2. `text` matches only if no other format does: beside other fields it is usually the same row, rendered; so does
    ///    `prompt`, among rows to be answered;
    /// 3. two that fit are ambiguous, and none is unknown: both are errors that name the fields.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its configuration.
    pub fn config(&self) -> &SourceConfig {
        &self.config
    }

    /// Its rows, one at a time, in the order of files and rows.
    ///
    /// Each item is an error if the file cannot be read, or if a row is not of the source's format. Rows follow only after an
    /// error about a row ([`Error::is_about_a_row`]).
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, Error>> {
        let columns = recognition::roots(&self.config, self.format);
        let records = self.files.iter().flat_map(move |file| {
            let (records, failed) = match DataFile::open(file, Some(&columns)) {
                Ok(records) => (Some(records), None),
                Err(error) => (None, Some(Err(error))),
            };
            failed.into_iter().chain(records.into_iter().flatten())
        });
        records.map(|record| {
            let (place, record) = record?;
            let demonstration = row_reader::read(record, self.format, &self.config)
                .map_err(|got| Error::Record { place: place.clone(), format: self.format, got })?;
            Ok(Row { place, demonstration })
        })
    }
}

/// Extensions of data files in a directory.
const EXTENSIONS: [&str; 9] = ["jsonl", "ndjson", "json", "parquet", "csv", "tsv", "gz", "zst", "zstd"];

/// The file itself, the data files of a directory, or the files that a pattern such as `data/*.jsonl` matches, in the order of
/// their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return if path.exists() { Ok(vec![path.to_owned()]) } else { matching(path) };
    }
    let io = |source| FileError::Io { action: "read", path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if file.is_file() && EXTENSIONS.contains(&extension) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(Error::EmptySource { path: path.to_owned() }) } else { Ok(files) }
}

/// The files that a pattern matches; a path without a pattern is itself.
fn matching(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let pattern = path.to_string_lossy();
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let invalid = |source| Error::Pattern { path: path.to_owned(), source };
    let mut files = Vec::new();
    for file in glob::glob(&pattern).map_err(invalid)? {
        let file = file.map_err(|error| {
            let path = error.path().to_owned();
            FileError::Io { action: "read", path, source: error.into() }
        })?;
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(Error::EmptySource { path: path.to_owned() }) } else { Ok(files) }
}
