//! Caches: plain data that every forward reads and extends. Keys and values of attention, states of recurrent layers.

mod gated;
mod history;
mod kv;
mod kv_buffer;
mod kv_format;
mod layer;
mod layers;
mod shape;
mod snapshots;
mod state;
mod text;

pub use gated::GatedCache;
pub use history::Inputs;
pub use kv::KvCache;
pub use kv_buffer::KvBuffer;
pub use kv_format::KvFormat;
pub use layer::LayerMemory;
pub use layers::{LayerCache, Segment};
pub use shape::LayerShape;
pub use snapshots::MOST_SNAPSHOTS;
pub use state::RecurrentState;
pub(crate) use text::TextRow;
pub use text::{ByteState, TextCache};

use crate::error::Error;

/// The state of a [`CausalLm`](crate::CausalLm) after the tokens it has read. It mirrors the model: layers for a
/// transformer, one cache for each part of a [`FusedLm`](crate::FusedLm).
#[derive(Debug, Clone)]
pub enum Cache {
    /// The cache of one transformer.
    Layers(LayerCache),
    /// The caches of a base with values: the base first, then the values in order.
    Fused(Vec<Cache>),
    /// The cache of a value that reads the text in tokens of its own.
    Text(TextCache<Cache>),
    /// The cache of a value that is fused over bytes.
    Bytes(TextCache<Cache, ByteState>),
    /// The cache of a base whose values lag.
    Gated(Box<GatedCache<Cache>>),
}

impl Cache {
    /// Tokens read so far, padding included.
    pub fn len(&self) -> usize {
        match self {
            Self::Layers(cache) => cache.tokens(),
            Self::Fused(parts) => parts.first().map_or(0, Self::len),
            Self::Text(cache) => cache.len(),
            Self::Bytes(cache) => cache.len(),
            Self::Gated(cache) => cache.len(),
        }
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Announces that the text will reach `len` tokens, padding included: a prompt that is read in chunks then gives
    /// the same logits as one that is read at once, also where the position encoding depends on the length of the text.
    pub fn set_expected_len(&mut self, len: usize) {
        match self {
            Self::Layers(cache) => cache.set_expected_len(len),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.set_expected_len(len)),
            Self::Gated(cache) => cache.caches_mut().for_each(|cache| cache.set_expected_len(len)),
            // Its own tokens are not known before the text is.
            Self::Text(_) | Self::Bytes(_) => {}
        }
    }

    /// Announces that the first `len` tokens, padding included, are the prompt: a [`Gate`](crate::fusion::Gate) counts
    /// the tokens after them.
    pub fn set_prompt_len(&mut self, len: usize) {
        match self {
            Self::Layers(_) | Self::Text(_) | Self::Bytes(_) => {}
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.set_prompt_len(len)),
            Self::Gated(cache) => {
                cache.set_prompt_len(len);
                cache.caches_mut().for_each(|cache| cache.set_prompt_len(len));
            }
        }
    }

    /// Announces that each row holds several texts, one after the other: `rows[r]` are their lengths in row `r`, after
    /// its left padding. The model then reads each text as if it were the only one: its positions begin at 0, it sees no
    /// other text, and a position encoding that depends on the length uses its own. Tokens after the last text of a row
    /// are right padding, which no text sees.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if the number of lists is not the number of rows, or a value reads the text in tokens
    /// of its own: its rows hold one text each.
    pub fn segment(&mut self, rows: &[Vec<usize>]) -> Result<(), Error> {
        match self {
            Self::Layers(cache) => cache.segment(rows),
            Self::Fused(parts) => parts.iter_mut().try_for_each(|part| part.segment(rows)),
            Self::Gated(cache) => cache.caches_mut().try_for_each(|cache| cache.segment(rows)),
            Self::Text(_) | Self::Bytes(_) => Err(Error::InvalidSetting {
                name: "segments",
                expected: "one text a row for a value that reads the text in its own tokens",
                got: format!("{rows:?}"),
            }),
        }
    }

    /// The longest beginning of at most `len` tokens that can be gone on from without reading any of it again. That is `len`, except
    /// for recurrent layers: their states are known at the end of the text and at a few lengths before.
    #[must_use]
    pub fn resumable(&self, len: usize) -> usize {
        match self {
            Self::Layers(cache) => cache.resumable(len),
            Self::Fused(parts) => common_length(len, &parts.iter().collect::<Vec<_>>()),
            // Values with tokens of their own go back when they next read.
            Self::Text(_) | Self::Bytes(_) => len.min(self.len()),
            Self::Gated(cache) => common_length(len, &cache.caches().collect::<Vec<_>>()),
        }
    }

    /// Forgets all tokens from `len` on. A recurrent model reads again what comes after the longest
    /// [`resumable`](Self::resumable) beginning, together with the next tokens.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Layers(cache) => cache.truncate(len),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.truncate(len)),
            Self::Text(cache) => cache.truncate(len),
            Self::Bytes(cache) => cache.truncate(len),
            Self::Gated(cache) => {
                cache.caches_mut().for_each(|cache| cache.truncate(len));
                cache.truncate_tokens(len);
            }
        }
    }

    /// Keeps the given rows of the batch, in the given order; a row may be repeated.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn select(&mut self, rows: &[usize]) {
        match self {
            Self::Layers(cache) => cache.select(rows),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.select(rows)),
            Self::Text(cache) => cache.select(rows),
            Self::Bytes(cache) => cache.select(rows),
            Self::Gated(cache) => {
                cache.caches_mut().for_each(|cache| cache.select(rows));
                cache.select_tokens(rows);
            }
        }
    }

    /// Keeps the given rows, in the given order, as [`select`](Self::select) does, and drops positions at the beginning
    /// that are padding in all of them. A gated cache keeps those positions.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn keep(&mut self, rows: &[usize]) {
        match self {
            Self::Layers(cache) => cache.keep(rows),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.keep(rows)),
            Self::Text(cache) => cache.keep(rows),
            Self::Bytes(cache) => cache.keep(rows),
            Self::Gated(_) => self.select(rows),
        }
    }

    /// Adds the rows of another cache of the same model after those here. Lengths may differ: the ends are aligned, and
    /// what is missing at the beginning becomes left padding, as in a batch of prompts.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if the caches are of models of different structure, or of a gated model, whose values lag
    /// differently in different rows.
    pub fn join(&mut self, other: Self) -> Result<(), Error> {
        match (self, other) {
            (Self::Layers(cache), Self::Layers(other)) if cache.num_layers() == other.num_layers() => {
                cache.join(other);
            }
            (Self::Fused(parts), Self::Fused(others)) if parts.len() == others.len() => {
                return parts.iter_mut().zip(others).try_for_each(|(part, other)| part.join(other));
            }
            (Self::Text(cache), Self::Text(other)) => cache.join(other),
            (Self::Bytes(cache), Self::Bytes(other)) => cache.join(other),
            (cache, other) => return Err(other.foreign(cache.structure())),
        }
        Ok(())
    }

    /// Whether texts of other lengths can [`join`](Self::join), to a cache of the same structure.
    pub(crate) fn can_join(&self) -> bool {
        match self {
            Self::Layers(_) | Self::Text(_) | Self::Bytes(_) => true,
            Self::Fused(parts) => parts.iter().all(Self::can_join),
            Self::Gated(_) => false,
        }
    }

    /// Whether keys hold only for texts of some lengths, so that tokens were kept to be read again.
    pub fn depends_on_length(&self) -> bool {
        match self {
            Self::Layers(cache) => cache.depends_on_length(),
            Self::Fused(parts) => parts.iter().any(Self::depends_on_length),
            Self::Text(cache) => cache.caches().any(Self::depends_on_length),
            Self::Bytes(cache) => cache.caches().any(Self::depends_on_length),
            Self::Gated(cache) => cache.caches().any(Self::depends_on_length),
        }
    }

    /// Bytes of the buffers, free positions included.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Layers(cache) => cache.bytes(),
            Self::Fused(parts) => parts.iter().map(Self::bytes).sum(),
            Self::Text(cache) => cache.caches().map(Self::bytes).sum(),
            Self::Bytes(cache) => cache.caches().map(Self::bytes).sum(),
            Self::Gated(cache) => cache.caches().map(Self::bytes).sum(),
        }
    }

    /// The cache of a transformer with `count` layers.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if a model of another structure made the cache.
    pub fn layers(&mut self, count: usize) -> Result<&mut LayerCache, Error> {
        self.check(matches!(&*self, Self::Layers(cache) if cache.num_layers() == count), || {
            of_layers(count)
        })?;
        match self {
            Self::Layers(cache) => Ok(cache),
            other => Err(other.foreign(of_layers(count))),
        }
    }

    /// The base's cache and those of `values` values.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if a model of another structure made the cache.
    pub(crate) fn base_and_values(&mut self, values: usize) -> Result<(&mut Self, &mut [Self]), Error> {
        self.check(matches!(&*self, Self::Fused(parts) if parts.len() == values + 1), || of_values(values))?;
        match self {
            Self::Fused(parts) => {
                let (base, values) = parts.split_at_mut(1);
                Ok((&mut base[0], values))
            }
            other => Err(other.foreign(of_values(values))),
        }
    }

    /// The base's cache and those of all its values, for a model that reaches `values` values in a base that may have
    /// some itself.
    ///
    /// # Errors
    /// As [`base_and_values`](Self::base_and_values).
    pub(crate) fn base_and_all_values(
        &mut self,
        values: usize,
    ) -> Result<(&mut Self, Vec<&mut Self>), Error> {
        if values == 0 {
            return Ok((self, Vec::new()));
        }
        let fits = |parts: &[Self]| (1..=values + 1).contains(&parts.len());
        self.check(matches!(&*self, Self::Fused(parts) if fits(parts)), || of_values(values))?;
        match self {
            Self::Fused(parts) => {
                let (base, own) = parts.split_at_mut(1);
                let (base, mut all) = base[0].base_and_all_values(values - own.len())?;
                all.extend(own);
                Ok((base, all))
            }
            other => Err(other.foreign(of_values(values))),
        }
    }

    /// The cache of a base with `values` gated values.
    ///
    /// # Errors
    /// As [`base_and_values`](Self::base_and_values).
    pub(crate) fn gated(&mut self, values: usize) -> Result<&mut GatedCache<Self>, Error> {
        self.check(matches!(&*self, Self::Gated(cache) if cache.values.len() == values), || {
            of_gated(values)
        })?;
        match self {
            Self::Gated(cache) => Ok(cache),
            other => Err(other.foreign(of_gated(values))),
        }
    }

    /// The cache of a value that reads the text in tokens of its own.
    ///
    /// # Errors
    /// As [`base_and_values`](Self::base_and_values).
    pub(crate) fn text(&mut self) -> Result<&mut TextCache<Self>, Error> {
        match self {
            Self::Text(cache) => Ok(cache),
            other => Err(other.foreign(OF_TEXT.to_owned())),
        }
    }

    /// The cache of a value that is fused over bytes.
    ///
    /// # Errors
    /// As [`base_and_values`](Self::base_and_values).
    pub(crate) fn byte_text(&mut self) -> Result<&mut TextCache<Self, ByteState>, Error> {
        match self {
            Self::Bytes(cache) => Ok(cache),
            other => Err(other.foreign(OF_BYTES.to_owned())),
        }
    }

    fn check(&self, fits: bool, expected: impl Fn() -> String) -> Result<(), Error> {
        if fits { Ok(()) } else { Err(self.foreign(expected())) }
    }

    fn foreign(&self, expected: String) -> Error {
        Error::ForeignCache { expected, got: self.structure() }
    }

    /// The structure of the model that made the cache, for error messages.
    fn structure(&self) -> String {
        match self {
            Self::Layers(cache) => of_layers(cache.num_layers()),
            Self::Fused(parts) => of_values(parts.len().saturating_sub(1)),
            Self::Text(_) => OF_TEXT.to_owned(),
            Self::Bytes(_) => OF_BYTES.to_owned(),
            Self::Gated(cache) => of_gated(cache.values.len()),
        }
    }
}

impl GatedCache<Cache> {
    /// Positions that the base has read, padding included.
    pub fn len(&self) -> usize {
        self.base.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions that the values have read.
    pub fn value_len(&self) -> usize {
        self.values.first().map_or(self.len(), Cache::len)
    }
}

impl<S> TextRow<Cache, S> {
    /// Forgets all value tokens from `len` on.
    pub(crate) fn rewind(&mut self, len: usize) {
        if len < self.held.len() {
            self.held.truncate(len);
            self.caches.iter_mut().for_each(|cache| cache.truncate(len));
        }
    }

    /// The caches of the first `kept` tokens, once for each of `copies` rows: to look ahead from there.
    pub(crate) fn branches(&self, copies: usize, kept: usize) -> Vec<Cache> {
        let mut caches = self.caches.clone();
        for cache in &mut caches {
            cache.truncate(kept);
            cache.select(&vec![0; copies]);
        }
        caches
    }
}

/// The longest length of at most `len` tokens from which all caches can go on.
fn common_length(len: usize, caches: &[&Cache]) -> usize {
    // Caches that have read less (values that lag, values that no row takes) limit nothing.
    let of = |cache: &&Cache| if cache.len() < len { len } else { cache.resumable(len) };
    match caches.iter().map(of).min() {
        Some(shorter) if shorter < len => common_length(shorter, caches),
        _ => len,
    }
}

const OF_TEXT: &str = "one of a value with a tokenizer of its own";
const OF_BYTES: &str = "one of a value that is fused over bytes";

fn of_layers(count: usize) -> String {
    format!("one of {count} layers")
}

fn of_values(count: usize) -> String {
    format!("one of a base with {count} values")
}

fn of_gated(count: usize) -> String {
    format!("one of a base with {count} gated values")
}
