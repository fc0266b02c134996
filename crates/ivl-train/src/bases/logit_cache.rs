//! A frozen base's logits on disk: training then needs no base in memory.
//!
//! One record for each trained token, in the order of the examples: log-probabilities of all ids, or of the `k` most probable
//! ones (the target always among them) and the exact mass of the rest. The logits of a teacher are kept in the same files.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_core::CausalLm;
use ivl_core::row_chunks::row_ranges;
use ivl_models::FileError;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bases::lm_logits::lm_logits;
use crate::data::batch::Batch;
use crate::data::examples::Examples;
use crate::objective::teacher_target::TopTokens;

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"ivllogit";

/// Longest header that is read.
const LONGEST_HEADER: u64 = 1 << 16;

/// The description of a cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogitCacheHeader {
    /// Of the base and the examples: a cache of others is written again.
    pub fingerprint: String,
    /// Logits of the base.
    pub vocab: usize,
    /// Ids in a record; 0 for all.
    pub top_k: usize,
    /// Learnt tokens.
    pub tokens: u64,
    /// Mean over the tokens of `KL(p || p~)`, in nats: what is lost by spreading the rest's mass evenly.
    pub mean_kl: f64,
    /// The largest of them.
    pub largest_kl: f64,
    /// Mean over the tokens of the rest's probability.
    #[serde(default)]
    pub mean_rest: f64,
}

impl LogitCacheHeader {
    fn record_size(&self) -> u64 {
        match self.top_k {
            0 => 4 * self.vocab as u64,
            k => 8 * k as u64 + 4,
        }
    }
}

/// A cache that is there to be read.
#[derive(Debug)]
pub struct LogitCache {
    path: PathBuf,
    file: File,
    header: LogitCacheHeader,
    records: u64,
    /// Record of the first trained token of each example.
    starts: Vec<u64>,
}

impl LogitCache {
    /// Opens a cache of these examples; none if there is no file, or one with another fingerprint, or one that was not
    /// finished.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read.
    pub fn open(path: &Path, fingerprint: &str, examples: &Examples) -> Result<Option<Self>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let io = |source| FileError::Io { action: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut start = [0; 16];
        if size < 16 || file.read_exact(&mut start).is_err() || start[..8] != *MAGIC {
            return Ok(None);
        }
        let len = start[8..].iter().rev().fold(0u64, |len, &byte| len << 8 | u64::from(byte));
        if len > LONGEST_HEADER.min(size - 16) {
            return Ok(None);
        }
        let mut header = vec![0; len as usize];
        file.read_exact(&mut header).map_err(io)?;
        let Ok(header) = serde_json::from_slice::<LogitCacheHeader>(&header) else { return Ok(None) };
        let starts = starts(examples);
        let tokens = starts.last().copied().unwrap_or(0);
        let expected = tokens.checked_mul(header.record_size()).and_then(|bytes| bytes.checked_add(16 + len));
        let fits = header.fingerprint == fingerprint && header.tokens == tokens && expected == Some(size);
        Ok(fits.then(|| Self { path: path.to_owned(), file, header, records: 16 + len, starts }))
    }

    /// Writes a cache, complete or not at all: runs the base over all examples, `batch_size` at a time. `progress` receives the
    /// examples done.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(
        path: &Path,
        base: &dyn CausalLm,
        examples: &Examples,
        settings: &CacheSettings<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), Error> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|source| FileError::Io {
                action: "create",
                path: dir.to_owned(),
                source,
            })?;
        }
        let vocab = base.vocab().size().min(settings.vocab);
        let mut header = LogitCacheHeader {
            fingerprint: settings.fingerprint.to_owned(),
            vocab,
            top_k: if settings.top_k >= vocab { 0 } else { settings.top_k },
            tokens: starts(examples).last().copied().unwrap_or(0),
            mean_kl: 0.0,
            largest_kl: 0.0,
            mean_rest: 0.0,
        };
        let mut failed = None;
        let written = ivl_models::write_whole(path, |partial| {
            // The error is known at the end: room for it is left at the beginning.
            let room = header_bytes(&header, None).len() + 96;
            let mut file = BufWriter::new(File::create(partial)?);
            file.write_all(&header_bytes(&header, Some(room)))?;
            let indices: Vec<usize> = (0..examples.len()).collect();
            let (mut sum, mut largest, mut rest) = (0.0, 0f64, 0.0);
            for chunk in indices.chunks(settings.batch_size.max(1)) {
                let loaded = chunk.iter().map(|&index| examples.get(index)).collect::<Result<Vec<_>, _>>();
                let loaded = match loaded {
                    Ok(loaded) => loaded,
                    Err(error) => {
                        failed = Some(error);
                        return Err(std::io::Error::other("the examples cannot be read"));
                    }
                };
                let batch = Batch::new(&loaded.iter().collect::<Vec<_>>());
                for loss in write_batch(&mut file, base, &batch, &header, settings.temperature)? {
                    sum += loss.kl;
                    largest = largest.max(loss.kl);
                    rest += loss.rest;
                }
                progress(chunk.last().map_or(0, |last| last + 1));
            }
            let tokens = header.tokens.max(1) as f64;
            (header.mean_kl, header.largest_kl, header.mean_rest) = (sum / tokens, largest, rest / tokens);
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header_bytes(&header, Some(room)))?;
            file.flush()
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(written?),
        }
    }

    /// The description of the cache.
    pub fn header(&self) -> &LogitCacheHeader {
        &self.header
    }

    /// The places of the records of a batch's trained tokens, in the order of its positions.
    pub(crate) fn records(&self, batch: &Batch) -> Vec<u64> {
        let tokens = |&example: &usize| self.starts[example]..self.starts[example + 1];
        batch.examples.iter().flat_map(tokens).collect()
    }

    /// Logits (up to a constant for each row) of some records; shape `[n, vocab]`.
    ///
    /// # Panics
    /// If the file cannot be read any more: it was whole when it was opened.
    pub(crate) fn logits(&self, records: &[u64], device: &Device) -> Tensor<2> {
        let vocab = self.header.vocab;
        let mut numbers = vec![0f32; records.len() * vocab];
        let mut rows = numbers.chunks_mut(vocab);
        self.for_each(records, |record| {
            if let Some(row) = rows.next() {
                self.fill(record, row);
            }
        });
        Tensor::from_data(TensorData::new(numbers, [records.len(), vocab]), (device, DType::F32))
    }

    /// The kept ids of some records, and the probability of the rest.
    ///
    /// # Panics
    /// As [`logits`](Self::logits), or if the cache keeps whole distributions.
    pub(crate) fn top_tokens(&self, records: &[u64]) -> TopTokens {
        let LogitCacheHeader { vocab, top_k: k, .. } = self.header;
        assert!(k > 0, "a cache of the most probable ids");
        let others = (vocab as f64 - k as f64).ln();
        let mut top = TopTokens::default();
        self.for_each(records, |record| {
            let (ids, logprobs) = record.split_at(4 * k);
            // A damaged id must not lead outside.
            top.ids.extend(ids.chunks_exact(4).map(|id| u32_of(id).min(vocab as u32 - 1)));
            top.logprobs.extend(logprobs[..4 * k].chunks_exact(4).map(f32_of));
            top.rest.push((f64::from(f32_of(&logprobs[4 * k..])) + others) as f32);
        });
        top
    }

    /// Reads some records, one after the other.
    fn for_each(&self, records: &[u64], mut work: impl FnMut(&[u8])) {
        let mut bytes = vec![0; self.header.record_size() as usize];
        for record in records {
            let offset = self.records + record * bytes.len() as u64;
            read_at(&self.file, &mut bytes, offset)
                .unwrap_or_else(|error| panic!("cannot read `{}` any more: {error}", self.path.display()));
            work(&bytes);
        }
    }

    fn fill(&self, record: &[u8], row: &mut [f32]) {
        let k = self.header.top_k;
        if k == 0 {
            row.iter_mut().zip(record.chunks_exact(4)).for_each(|(number, bytes)| *number = f32_of(bytes));
            return;
        }
        let (ids, logprobs) = record.split_at(4 * k);
        row.fill(f32_of(&logprobs[4 * k..]));
        for (id, logprob) in ids.chunks_exact(4).zip(logprobs.chunks_exact(4)) {
            // A damaged id must not lead outside.
            if let Some(number) = row.get_mut(u32_of(id) as usize) {
                *number = f32_of(logprob);
            }
        }
    }
}

/// How a cache is made.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings<'a> {
    /// Of the base and the examples.
    pub fingerprint: &'a str,
    /// Ids in a record; 0 for all.
    pub top_k: usize,
    /// Examples in a forward pass.
    pub batch_size: usize,
    /// Divides the logits.
    pub temperature: f64,
    /// The number of ids, from 0 on, that are kept; the logits beyond them are ignored.
    pub vocab: usize,
}

impl<'a> CacheSettings<'a> {
    /// All ids at the temperature 1.
    pub fn new(fingerprint: &'a str, top_k: usize) -> Self {
        Self { fingerprint, top_k, batch_size: 8, temperature: 1.0, vocab: usize::MAX }
    }
}

/// Record of the first trained token of each example, and the number of all.
fn starts(examples: &Examples) -> Vec<u64> {
    let mut total = 0;
    let counts = examples.shapes().iter().map(|shape| {
        total += u64::from(shape.trained);
        total
    });
    std::iter::once(0).chain(counts).collect()
}

fn header_bytes(header: &LogitCacheHeader, room: Option<usize>) -> Vec<u8> {
    let mut json = serde_json::to_vec(header).expect("a header is plain data");
    // Spaces after the object are still JSON.
    json.resize(room.unwrap_or(json.len()).max(json.len()), b' ');
    [MAGIC.as_slice(), &(json.len() as u64).to_le_bytes(), &json].concat()
}

/// What a record leaves out of a distribution.
#[derive(Debug, Clone, Copy, Default)]
struct RecordLoss {
    /// `KL(p || p~)`.
    kl: f64,
    /// The probability of the rest.
    rest: f64,
}

/// Writes the records of a batch and returns what each leaves out.
fn write_batch(
    file: &mut impl Write,
    base: &dyn CausalLm,
    batch: &Batch,
    header: &LogitCacheHeader,
    temperature: f64,
) -> std::io::Result<Vec<RecordLoss>> {
    let lazy = lm_logits(base, batch, &batch.positions).map_err(std::io::Error::other)?;
    let (n, mut losses, vocab) = (batch.targets.len(), Vec::new(), header.vocab);
    let chunk = ((1 << 24) / base.vocab().size()).max(1);
    for rows in row_ranges(n, chunk) {
        let logits = lazy.rows(rows.clone()).cast(DType::F32);
        let logits = logits.slice([0..rows.len(), 0..vocab]) / temperature;
        let logprobs = log_softmax(logits, 1).into_data();
        let logprobs: Vec<f32> = logprobs.try_into_vec().expect("log-probabilities in f32");
        for (row, &target) in logprobs.chunks(vocab).zip(&batch.targets[rows]) {
            losses.push(write_record(file, row, target, header.top_k)?);
        }
    }
    Ok(losses)
}

/// Writes one record.
fn write_record(
    file: &mut impl Write,
    logprobs: &[f32],
    target: u32,
    top_k: usize,
) -> std::io::Result<RecordLoss> {
    let bytes =
        |numbers: &mut dyn Iterator<Item = f32>| numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    if top_k == 0 {
        file.write_all(&bytes(&mut logprobs.iter().copied()))?;
        return Ok(RecordLoss::default());
    }
    let mut ids: Vec<u32> = (0..logprobs.len() as u32).collect();
    let by_probability =
        |a: &u32, b: &u32| logprobs[*b as usize].total_cmp(&logprobs[*a as usize]).then(a.cmp(b));
    ids.select_nth_unstable_by(top_k - 1, by_probability);
    if !ids[..top_k].contains(&target) {
        // The least probable of the kept makes room for the target.
        let least = (0..top_k).max_by(|&a, &b| by_probability(&ids[a], &ids[b])).unwrap_or(0);
        let place = ids.iter().position(|&id| id == target).unwrap_or(least);
        ids.swap(least, place);
    }
    let (kept, rest) = ids.split_at(top_k);
    let probability = |&id: &u32| f64::from(logprobs[id as usize]).exp();
    let mass: f64 = rest.iter().map(probability).sum();
    let even = (mass / rest.len() as f64).ln();
    file.write_all(&kept.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())?;
    file.write_all(&bytes(&mut kept.iter().map(|&id| logprobs[id as usize])))?;
    file.write_all(&(even as f32).to_le_bytes())?;
    let lost = |id: &u32| {
        let p = probability(id);
        if p > 0.0 { p * (f64::from(logprobs[*id as usize]) - even) } else { 0.0 }
    };
    Ok(RecordLoss { kl: rest.iter().map(lost).sum::<f64>().max(0.0), rest: mass })
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_bits(u32_of(bytes))
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
