//! All examples of a run: few in memory, many in a file.

use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::config::OnError;
use crate::data::dataset::{Dataset, Row};
use crate::data::encoder::Encoder;
use crate::data::example::{Example, Shape};
use crate::data::source_report::SourceReport;
use crate::data::token_file::{TokenFile, TokenFileWriter};

/// Examples in the order of their sources. Only their lengths are in memory; the tokens are where they were put. Those of pairs
/// stand two by two, the chosen answer first.
#[derive(Debug, Default)]
pub struct Examples {
    shapes: Vec<Shape>,
    paired: bool,
    /// In rows.
    sources: Vec<(Range<usize>, f64)>,
    reports: Vec<SourceReport>,
    max_length: Option<usize>,
    tokens: Tokens,
    /// Hashes of the rows, and of all that decides which tokens they become.
    origin: Option<[String; 2]>,
}

#[derive(Debug)]
enum Tokens {
    Memory(Vec<Example>),
    File(TokenFile),
}

impl Default for Tokens {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl From<Vec<Example>> for Examples {
    /// One source, in memory.
    fn from(examples: Vec<Example>) -> Self {
        Self {
            shapes: examples.iter().map(Example::shape).collect(),
            paired: false,
            sources: vec![(0..examples.len(), 1.0)],
            reports: Vec::new(),
            max_length: None,
            tokens: Tokens::Memory(examples),
            origin: None,
        }
    }
}

impl Examples {
    /// Pairs of one source, in memory: the chosen and the rejected answer of each.
    pub fn of_pairs(pairs: Vec<[Example; 2]>) -> Self {
        let sources = vec![(0..pairs.len(), 1.0)];
        Self { paired: true, sources, ..pairs.into_iter().flatten().collect::<Vec<_>>().into() }
    }

    /// Tokenises a dataset into a file in `cache`, once: a later run with the same data, tokenizer, template and longest
    /// length opens the file. `progress` receives the rows read so far.
    ///
    /// # Errors
    /// Errors of reading and [encoding](Encoder::encode); [`Error::NothingToTrain`] if no example is left, where `what`
    /// names the setting.
    pub fn encode(
        dataset: &Dataset,
        encoder: &Encoder<'_>,
        what: &'static str,
        cache: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        let origin = [dataset.fingerprint.clone(), encoder.fingerprint()?];
        let fingerprint = crate::data::token_file::fingerprint(&origin[0], &origin[1]);
        let path = cache.join(format!("{}.tokens", &fingerprint[..16]));
        let file = match TokenFile::open(&path, &fingerprint) {
            Some(file) => file,
            None => write(dataset, encoder, &path, &fingerprint, progress)?,
        };
        let mut examples = Self::on_disk(file, dataset, encoder.max_length());
        examples.origin = Some(origin);
        if examples.is_empty() {
            let sum = |of: fn(&SourceReport) -> usize| examples.reports.iter().map(of).sum();
            let (rows, dropped) = (sum(|report| report.rows), sum(|report| report.dropped));
            return Err(Error::NothingToTrain { what, rows, dropped, max_length: encoder.max_length() });
        }
        Ok(examples)
    }

    fn on_disk(file: TokenFile, dataset: &Dataset, max_length: usize) -> Self {
        let mut start = 0;
        let mut sources = Vec::with_capacity(dataset.sources.len());
        for (source, report) in dataset.sources.iter().zip(file.reports()) {
            sources.push((start..start + report.examples, source.config().weight));
            start += report.examples;
        }
        let (shapes, reports) = (file.shapes(), file.reports().to_vec());
        Self {
            shapes,
            paired: dataset.sources.iter().any(|source| source.format().is_paired()),
            sources,
            reports,
            max_length: Some(max_length),
            tokens: Tokens::File(file),
            origin: None,
        }
    }

    /// Hashes of what the examples are made of, by name.
    pub(crate) fn identity(&self) -> Vec<(&'static str, String)> {
        if let Some([rows, encoder]) = &self.origin {
            return vec![("rows", rows.clone()), ("tokenizer or template", encoder.clone())];
        }
        let Tokens::Memory(examples) = &self.tokens else { return Vec::new() };
        if examples.is_empty() {
            return Vec::new();
        }
        let mut hash = Sha256::new();
        for Example { ids, loss_mask } in examples {
            for id in ids {
                hash.update(id.to_le_bytes());
            }
            for &trained in loss_mask {
                hash.update([u8::from(trained)]);
            }
            hash.update([u8::MAX]);
        }
        vec![("tokens", hex::encode(hash.finalize()))]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// How long each example is.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Whether they are pairs of answers to compare.
    pub fn are_paired(&self) -> bool {
        self.paired
    }

    /// Examples of a row that is trained on: two of a pair, else one.
    pub(crate) fn per_row(&self) -> usize {
        if self.paired { 2 } else { 1 }
    }

    /// The rows of each source, and its weight. A row is an example, or a pair of them.
    pub fn sources(&self) -> &[(Range<usize>, f64)] {
        &self.sources
    }

    /// Counts of the rows of each source.
    pub fn reports(&self) -> &[SourceReport] {
        &self.reports
    }

    /// The length to which examples were cut, if they were.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// One example.
    ///
    /// # Errors
    /// [`Error::File`] if its file cannot be read.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn get(&self, index: usize) -> Result<Example, Error> {
        match &self.tokens {
            Tokens::Memory(examples) => Ok(examples[index].clone()),
            Tokens::File(file) => file.get(index),
        }
    }
}

/// Rows that are tokenised at a time, by all processors.
const CHUNK: usize = 1024;

fn write(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    path: &Path,
    fingerprint: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<TokenFile, Error> {
    let mut read = 0;
    TokenFileWriter::write(path, fingerprint, |writer| {
        for source in &dataset.sources {
            let mut report = SourceReport::new(source.config().path.clone(), source.format());
            let mut rows = source.rows();
            loop {
                let chunk = next_rows(&mut rows, encoder, &mut report)?;
                if chunk.is_empty() {
                    break;
                }
                for examples in encode_chunk(encoder, &chunk) {
                    let examples = match examples {
                        Ok(examples) => report.admit(examples, encoder.options()),
                        Err(error) => skip(error, encoder, &mut report).map(|()| Vec::new())?,
                    };
                    for example in examples {
                        writer.push(&example, example.shape())?;
                    }
                }
                progress(read + report.rows as u64);
            }
            read += report.rows as u64;
            writer.end_source(report);
        }
        Ok(())
    })?;
    TokenFile::open(path, fingerprint).ok_or_else(|| Error::CorruptTokenFile { path: path.to_owned() })
}

/// The next rows that can be read, up to a chunk.
fn next_rows(
    rows: &mut impl Iterator<Item = Result<Row, Error>>,
    encoder: &Encoder<'_>,
    report: &mut SourceReport,
) -> Result<Vec<Row>, Error> {
    let mut chunk = Vec::with_capacity(CHUNK);
    for row in rows {
        match row {
            Ok(row) => chunk.push(row),
            Err(error) => skip(error, encoder, report)?,
        }
        if chunk.len() == CHUNK {
            break;
        }
    }
    Ok(chunk)
}

/// Counts a row that cannot become an example, or ends the run with its error.
fn skip(error: Error, encoder: &Encoder<'_>, report: &mut SourceReport) -> Result<(), Error> {
    if encoder.options().on_error == OnError::Fail || !error.is_about_a_row() {
        return Err(error);
    }
    report.skip(&error);
    Ok(())
}

/// Examples of each row, in their order, on all processors.
fn encode_chunk(encoder: &Encoder<'_>, rows: &[Row]) -> Vec<Result<Vec<Example>, Error>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let encode = |rows: &[Row]| rows.iter().map(|row| encoder.encode_row(row)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let part = |rows| scope.spawn(move || encode(rows));
        let threads: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).map(part).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(encoded) => encoded,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    })
}
