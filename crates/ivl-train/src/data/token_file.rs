//! Tokenised examples in a file: `docs/decisions/0010-token-file.md` says why.
//!
//! ```text
//! tokens     u32, little endian, for each token: its id, and the highest bit if it is trained
//! shapes     two u32 for each example: its tokens, and those of them that are trained
//! reports    JSON: what became of the rows of each source
//! footer     three u64: tokens, examples, bytes of reports; 64 bytes of fingerprint; 8 bytes that say what this is
//! ```

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ivl_models::FileError;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::data::example::{Example, Shape};
use crate::data::source_report::SourceReport;

/// The last bytes of the file; the digit is the version of the format and of the rules of the loss mask.
const MAGIC: &[u8; 8] = b"ivltok02";
const FOOTER: u64 = 24 + 64 + 8;

/// Set in a token that is trained.
const TRAINED: u32 = 1 << 31;

/// Of the file that holds the tokens of a dataset.
pub(crate) fn fingerprint(dataset: &str, encoder: &str) -> String {
    hex::encode(Sha256::digest(format!("{dataset} {encoder}")))
}

/// An open file: the lengths of its examples are in memory, their tokens are not.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    file: Mutex<File>,
    shapes: Vec<Shape>,
    starts: Vec<u64>,
    reports: Vec<SourceReport>,
}

impl TokenFile {
    /// Opens a file; none if it is missing, has another fingerprint, or is not whole: it is then written again.
    pub(crate) fn open(path: &Path, fingerprint: &str) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut footer = [0; FOOTER as usize];
        file.seek(SeekFrom::Start(size.checked_sub(FOOTER)?)).ok()?;
        file.read_exact(&mut footer).ok()?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| footer[at + i]));
        let (tokens, examples, json) = (number(0), number(8), number(16));
        let body = tokens.checked_mul(4)?.checked_add(examples.checked_mul(8)?)?.checked_add(json)?;
        let whole = body.checked_add(FOOTER)? == size;
        if !whole || &footer[24..88] != fingerprint.as_bytes() || footer[88..] != MAGIC[..] {
            return None;
        }
        // Both are parts of the file, and so no larger than it.
        let (mut shapes, mut reports) = (vec![0; examples as usize * 8], vec![0; json as usize]);
        file.seek(SeekFrom::Start(tokens * 4)).ok()?;
        file.read_exact(&mut shapes).ok()?;
        file.read_exact(&mut reports).ok()?;
        let shapes: Vec<u32> = words(&shapes).collect();
        let shapes = shapes.chunks_exact(2).map(|pair| Shape { tokens: pair[0], trained: pair[1] });
        let shapes: Vec<Shape> = shapes.collect();
        let mut end = 0;
        let starts = shapes.iter().map(|shape| {
            let start = end;
            end += u64::from(shape.tokens);
            start
        });
        let starts = starts.collect();
        let reports: Vec<SourceReport> = serde_json::from_slice(&reports).ok()?;
        let of_source = |report: &SourceReport| report.examples * report.format.examples_per_row();
        let counted: usize = reports.iter().map(of_source).sum();
        (end == tokens && counted == shapes.len()).then(|| Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            shapes,
            starts,
            reports,
        })
    }

    pub(crate) fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    pub(crate) fn reports(&self) -> &[SourceReport] {
        &self.reports
    }

    pub(crate) fn get(&self, index: usize) -> Result<Example, Error> {
        let mut bytes = vec![0; self.shapes[index].tokens as usize * 4];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.starts[index] * 4))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| FileError::Io { action: "read", path: self.path.clone(), source })?;
        let (ids, loss_mask) = words(&bytes).map(|word| (word & !TRAINED, word & TRAINED != 0)).unzip();
        Ok(Example { ids, loss_mask })
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Writes examples one after the other.
pub(crate) struct TokenFileWriter {
    path: PathBuf,
    out: BufWriter<File>,
    shapes: Vec<Shape>,
    reports: Vec<SourceReport>,
    tokens: u64,
}

impl TokenFileWriter {
    /// Writes a file whole or not at all.
    pub(crate) fn write(
        path: &Path,
        fingerprint: &str,
        fill: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let io = |source| FileError::Io { action: "write", path: path.to_owned(), source };
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        // An error of `fill` is not an error of writing.
        let mut failed = None;
        let written = ivl_models::write_whole(path, |partial| {
            let out = BufWriter::new(File::create(partial)?);
            let (shapes, reports) = (Vec::new(), Vec::new());
            let mut writer = Self { path: path.to_owned(), out, shapes, reports, tokens: 0 };
            if let Err(error) = fill(&mut writer) {
                failed = Some(error);
                return Err(std::io::ErrorKind::Other.into());
            }
            writer.finish(fingerprint)
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(written?),
        }
    }

    pub(crate) fn push(&mut self, example: &Example, shape: Shape) -> Result<(), Error> {
        for (id, &trained) in example.ids.iter().zip(&example.loss_mask) {
            let word = if trained { id | TRAINED } else { *id };
            self.out.write_all(&word.to_le_bytes()).map_err(|source| FileError::Io {
                action: "write",
                path: self.path.clone(),
                source,
            })?;
        }
        self.tokens += example.ids.len() as u64;
        self.shapes.push(shape);
        Ok(())
    }

    pub(crate) fn end_source(&mut self, report: SourceReport) {
        self.reports.push(report);
    }

    fn finish(mut self, fingerprint: &str) -> std::io::Result<()> {
        for shape in &self.shapes {
            self.out.write_all(&shape.tokens.to_le_bytes())?;
            self.out.write_all(&shape.trained.to_le_bytes())?;
        }
        let reports = serde_json::to_vec(&self.reports)?;
        self.out.write_all(&reports)?;
        for count in [self.tokens, self.shapes.len() as u64, reports.len() as u64] {
            self.out.write_all(&count.to_le_bytes())?;
        }
        self.out.write_all(fingerprint.as_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()
    }
}
