//! All examples of a run: few in memory, many in a file.

use std::ops::Range;
use std::path::Path;

use crate::Error;
use crate::data::dataset::{Dataset, Row};
use crate::data::encoder::Encoder;
use crate::data::example::{Example, Shape};
use crate::data::source_report::SourceReport;
use crate::data::token_file::{TokenFile, TokenFileWriter};

/// Examples in the order of their sources. Only their lengths are in memory; the tokens are where they were put.
#[derive(Debug, Default)]
pub struct Examples {
    shapes: Vec<Shape>,
    sources: Vec<(Range<usize>, f64)>,
    reports: Vec<SourceReport>,
    max_length: Option<usize>,
    tokens: Tokens,
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
            sources: vec![(0..examples.len(), 1.0)],
            reports: Vec::new(),
            max_length: None,
            tokens: Tokens::Memory(examples),
        }
    }
}

impl Examples {
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
        let fingerprint = crate::data::token_file::fingerprint(&dataset.fingerprint, &encoder.fingerprint()?);
        let path = cache.join(format!("{}.tokens", &fingerprint[..16]));
        let file = match TokenFile::open(&path, &fingerprint) {
            Some(file) => file,
            None => write(dataset, encoder, &path, &fingerprint, progress)?,
        };
        let examples = Self::on_disk(file, dataset, encoder.max_length());
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
        Self { shapes, sources, reports, max_length: Some(max_length), tokens: Tokens::File(file) }
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

    /// The examples of each source, and its weight.
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
                let chunk = rows.by_ref().take(CHUNK).collect::<Result<Vec<_>, _>>()?;
                if chunk.is_empty() {
                    break;
                }
                read += chunk.len() as u64;
                for example in encode_chunk(encoder, &chunk)? {
                    if let Some(example) = report.admit(example, encoder.max_length()) {
                        writer.push(&example, example.shape())?;
                    }
                }
                progress(read);
            }
            writer.end_source(report);
        }
        Ok(())
    })?;
    TokenFile::open(path, fingerprint).ok_or_else(|| Error::CorruptTokenFile { path: path.to_owned() })
}

/// Examples of rows, in their order, on all processors.
fn encode_chunk(encoder: &Encoder<'_>, rows: &[Row]) -> Result<Vec<Example>, Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let encode = |rows: &[Row]| rows.iter().map(|row| encoder.encode(row)).collect::<Result<Vec<_>, _>>();
    let encoded = std::thread::scope(|scope| {
        let part = |rows| scope.spawn(move || encode(rows));
        let threads: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).map(part).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(encoded) => encoded,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(encoded.concat())
}
