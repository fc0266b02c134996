//! The vocabularies of two models, aligned.

use std::path::Path;
use std::time::Instant;

use ivl_align::{Alignment, CooccurrenceCounter, CooccurrenceCounts, Method, Pairing, TextPair, align};
use ivl_core::Vocab;
use ivl_models::{Checkpoint, Tokenizer};
use serde::Serialize;

use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::hub::resolve;

/// One of the two vocabularies.
struct TokenizedModel {
    name: String,
    tokenizer: Tokenizer,
    vocab: Vocab,
}

impl TokenizedModel {
    /// A checkpoint, or a directory that only holds a tokenizer.
    fn open(name: &str) -> Result<Self> {
        let path = resolve(name)?;
        let checkpoint = match Checkpoint::open(&path) {
            Err(ivl_models::Error::NotACheckpoint { .. } | ivl_models::Error::OtherFormat { .. }) => None,
            checkpoint => Some(checkpoint?),
        };
        if let Some(checkpoint) = checkpoint {
            let tokenizer = checkpoint.tokenizer()?;
            let vocab = checkpoint.vocab(&tokenizer)?;
            return Ok(Self { name: name.to_owned(), tokenizer, vocab });
        }
        let file = path.join("tokenizer.json");
        if !file.is_file() {
            let reason = "has neither config.json nor tokenizer.json nor a GGUF file; expected a checkpoint or a tokenizer";
            return Err(Error::Content { path, reason: reason.to_owned() });
        }
        let tokenizer = Tokenizer::from_file(&file)?;
        let vocab = tokenizer.vocab();
        Ok(Self { name: name.to_owned(), tokenizer, vocab })
    }
}

/// Progress of an alignment.
#[derive(Debug)]
#[non_exhaustive]
pub enum AlignEvent {
    /// Bytes of the corpus that were counted so far.
    Counting {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Texts that one of the tokenizers cannot write were left out.
    TextsLeftOut {
        /// How many.
        left_out: usize,
        /// Of how many.
        texts: usize,
        /// The error of the first.
        first: ivl_core::Error,
    },
    /// Tokens of the base that are searched next.
    Aligning {
        /// How many.
        total: usize,
    },
    /// More tokens of the base were searched; reported from any thread.
    Aligned {
        /// How many.
        more: usize,
    },
}

/// Seconds that were spent on a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CorpusSeconds {
    /// Tokenizing its texts.
    pub tokenizing: f64,
    /// Counting tokens.
    pub counting: f64,
}

/// An alignment, and how long it took.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelAlignment {
    /// The map and its coverage.
    pub alignment: Alignment,
    /// Seconds of the alignment itself.
    pub seconds: f64,
    /// Seconds spent on the corpus, if there was one.
    pub corpus_seconds: Option<CorpusSeconds>,
}

/// Maps the vocabulary of a base to that of a value, by a method and, if given, the counts of a corpus: a text file, or JSONL
/// with `text`.
///
/// # Errors
/// Names that cannot be resolved, a corpus that cannot be read, [`Error::MethodNeedsCorpus`], and what
/// [`align`](fn@ivl_align::align) refuses.
pub fn align_models(
    base: &str,
    value: &str,
    method: Method,
    corpus: Option<&Path>,
    on_event: &(dyn Fn(AlignEvent) + Sync),
) -> Result<ModelAlignment> {
    let mut corpus = corpus.map(Corpus::open).transpose()?;
    if method.needs().is_some() && corpus.is_none() {
        return Err(Error::MethodNeedsCorpus { method });
    }
    let (base, value) = (TokenizedModel::open(base)?, TokenizedModel::open(value)?);
    let counted = corpus.as_mut().map(|corpus| count(corpus, &base, &value, method, on_event)).transpose()?;
    let (counts, corpus_seconds) = counted.unzip();
    let began = Instant::now();
    on_event(AlignEvent::Aligning { total: base.vocab.size() });
    let progress = |more: usize| on_event(AlignEvent::Aligned { more });
    let alignment =
        align(&base.vocab, &value.vocab, method, counts.as_ref(), &progress).map_err(|source| {
            Error::Alignment { base: base.name.clone(), value: value.name.clone(), source: Box::new(source) }
        })?;
    Ok(ModelAlignment { alignment, seconds: began.elapsed().as_secs_f64(), corpus_seconds })
}

/// Counts the corpus in chunks. Texts that one of the tokenizers cannot write are left out and reported.
fn count(
    corpus: &mut Corpus,
    base: &TokenizedModel,
    value: &TokenizedModel,
    method: Method,
    on_event: &(dyn Fn(AlignEvent) + Sync),
) -> Result<(CooccurrenceCounts, CorpusSeconds)> {
    let pairing = method.needs().unwrap_or(Pairing::SameStart);
    let mut counter = CooccurrenceCounter::new(&base.vocab, &value.vocab, pairing);
    let mut seconds = CorpusSeconds::default();
    let (mut texts, mut left_out, mut first) = (0, 0, None);
    let (mut done, total) = (0, corpus.size);
    while let Some(chunk) = corpus.next_chunk()? {
        let began = Instant::now();
        let tokenized = TextPair::write_all(&chunk.texts, &base.tokenizer, &value.tokenizer);
        seconds.tokenizing += began.elapsed().as_secs_f64();
        texts += tokenized.len();
        let mut pairs = Vec::with_capacity(tokenized.len());
        for text in tokenized {
            match text {
                Ok(pair) => pairs.push(pair),
                Err(error) => {
                    left_out += 1;
                    first.get_or_insert(error);
                }
            }
        }
        let began = Instant::now();
        counter.count(&pairs);
        seconds.counting += began.elapsed().as_secs_f64();
        done += chunk.bytes;
        on_event(AlignEvent::Counting { done, total });
    }
    if texts == left_out {
        return Err(Error::UselessCorpus { source: first.map(Box::new) });
    }
    if let Some(first) = first {
        on_event(AlignEvent::TextsLeftOut { left_out, texts, first });
    }
    Ok((counter.finish(), seconds))
}
