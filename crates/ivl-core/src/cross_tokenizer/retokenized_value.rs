//! A value with another tokenizer, as a causal LM over the base's ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::cache::{Cache, TextCache, TextRow};
use crate::causal_lm::{CausalLm, ModelInfo, Positions, SelectedLogits};
use crate::cross_tokenizer::reader::{Context, Reader, read_to_last, read_tokens};
use crate::cross_tokenizer::{ByteTrie, Retokenizer};
use crate::error::Error;
use crate::fusion::VocabProjection;
use crate::tokens::{host_ids, shared_prefix_len, to_host};
use crate::vocab::{Vocab, VocabMap};

/// A value that cuts texts into other tokens than the base: it reads the base's tokens and answers with logits `M(v)` of the
/// base's ids, minus infinity where it says nothing. [`VocabProjection::add`] gives those ids the neutral value.
///
/// The value always reads *its own* tokenisation of the text so far. When new base tokens change the last of the value's
/// tokens, its cache is cut back to what the two tokenisations share and the rest is read again. `M` is a [`VocabMap`].
///
/// Where the base's text ends inside a character, the value has read the complete characters. A base token that goes on
/// with the character then gets the logit of the value token that holds the pending bytes and its own, if there is one.
/// Where the value cannot read the text at all (nothing to read yet, more tokens than its context, a character that its
/// tokenizer cannot write) it gives no logits, and the base predicts without it.
///
/// The logits at a position depend on the text before it and on nothing else: reading a text at once, in pieces or token
/// by token gives the same.
pub struct RetokenizedValue {
    /// The base's.
    vocab: Vocab,
    value: Box<dyn CausalLm>,
    map: VocabMap,
    projection: VocabProjection,
    reader: Reader,
    trie: ByteTrie,
}

/// The value's logits for the next base token.
#[derive(Clone)]
enum ValueLogits {
    /// Logits `[1, value_vocab]` after whole characters.
    Whole(Tensor<2>),
    /// Logits `[1, value_vocab]` before some bytes of a character.
    Inside(Tensor<2>, Vec<u8>),
    /// Nothing.
    None,
}

impl RetokenizedValue {
    /// A value for a base of this vocabulary, with a map of these two. [`Value::partial`](crate::Value::partial) makes it a
    /// part of a [`FusedLm`](crate::FusedLm).
    ///
    /// # Errors
    /// [`Error::ForeignMap`] if the map was made for other vocabularies.
    pub fn new(
        base: &Vocab,
        value: Box<dyn CausalLm>,
        map: VocabMap,
        tokenizer: Box<dyn Retokenizer>,
    ) -> Result<Self, Error> {
        map.check(base, value.vocab())?;
        Ok(Self {
            vocab: base.clone(),
            reader: Reader::new(tokenizer, base, value.vocab(), &map),
            trie: ByteTrie::new(value.vocab()),
            projection: map.on(&value.device()),
            value,
            map,
        })
    }

    /// The value's logits at the last `wanted` of new positions of a row.
    fn row_logits(
        &self,
        row: &mut TextRow<Cache>,
        new: &[u32],
        wanted: usize,
    ) -> Result<Vec<ValueLogits>, Error> {
        let contexts = self.reader.extend(row, new, wanted);
        let readable = |context: &Context| {
            let tokens = context.tokens.clone()?;
            (!tokens.is_empty() && tokens.len() <= self.value.max_positions()).then_some(tokens)
        };
        let texts: Vec<Option<Arc<[u32]>>> = contexts.iter().map(readable).collect();
        let logits = read_texts(&*self.value, row, &texts)?;
        let value_logits = |(logits, context): (Option<Tensor<2>>, Context)| match logits {
            None => ValueLogits::None,
            Some(logits) if context.pending.is_empty() => ValueLogits::Whole(logits),
            Some(logits) => ValueLogits::Inside(logits, context.pending),
        };
        Ok(logits.into_iter().zip(contexts).map(value_logits).collect())
    }

    /// The value's logits brought to the base's ids, `[n, base_vocab]`, minus infinity for ids without a logit.
    fn base_logits(&self, all: &[ValueLogits]) -> Tensor<2> {
        let silent = |logits: Tensor<2>, unmapped: Option<Tensor<2>>| match unmapped {
            Some(unmapped) => logits.mask_fill(unmapped.equal_elem(1.0), f32::NEG_INFINITY),
            None => logits,
        };
        let whole = |logits: &ValueLogits| match logits {
            ValueLogits::Whole(logits) => Some(logits.clone()),
            _ => None,
        };
        // All at once where the text ends between characters everywhere.
        if let Some(logits) = all.iter().map(whole).collect::<Option<Vec<_>>>() {
            let mapped = self.projection.rows(Tensor::cat(logits, 0)).cast(DType::F32);
            let unmapped = self.projection.unmapped_mask().map(|mask| mask.repeat_dim(0, all.len()));
            return silent(mapped, unmapped);
        }
        let rows = all.iter().map(|logits| match logits {
            ValueLogits::None => {
                Tensor::full([1, self.vocab.size()], f32::NEG_INFINITY, (&self.value.device(), DType::F32))
            }
            ValueLogits::Inside(logits, pending) => {
                let (mapped, unmapped) = self.inside(logits.clone(), pending);
                silent(mapped, Some(unmapped))
            }
            ValueLogits::Whole(logits) => {
                silent(self.projection.rows(logits.clone()).cast(DType::F32), self.projection.unmapped_mask())
            }
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// The value's logits at the last `wanted` of new positions of each row, row by row.
    fn read(
        &self,
        tokens: Tensor<2, Int>,
        wanted: usize,
        cache: &mut Cache,
    ) -> Result<Vec<ValueLogits>, Error> {
        let text = cache.text()?;
        let seq = tokens.dims()[1];
        text.advance(seq);
        let ids = host_ids(tokens);
        let mut all = Vec::new();
        for (row, new) in text.rows.iter_mut().zip(ids.chunks(seq)) {
            all.extend(self.row_logits(row, new, wanted)?);
        }
        Ok(all)
    }

    /// The value of base tokens that go on with a character: that of the value token made of the pending bytes and the
    /// base token's own.
    fn inside(&self, logits: Tensor<2>, pending: &[u8]) -> (Tensor<2>, Tensor<2>) {
        let (device, logits) = (logits.device(), to_host(logits));
        let value_of = |id: u32| {
            let bytes = self.vocab.text_bytes(id);
            let continues = bytes.first().is_some_and(|byte| (0x80..0xc0).contains(byte));
            let found = continues.then(|| self.trie.find(&[pending, bytes].concat())).flatten()?;
            Some(logits[self.trie.id(found) as usize] * self.map.weight(id))
        };
        let values: Vec<Option<f32>> = (0..self.vocab.size() as u32).map(value_of).collect();
        let shape = [1, values.len()];
        let mapped: Vec<f32> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        let unmapped: Vec<f32> = values.iter().map(|value| f32::from(u8::from(value.is_none()))).collect();
        (
            Tensor::from_data(TensorData::new(mapped, shape), &device),
            Tensor::from_data(TensorData::new(unmapped, shape), &device),
        )
    }
}

/// Logits `[1, vocab]` after each of some texts, which grow one out of the other: in one pass over the longest, with a
/// short detour for every text that is not a prefix of it.
fn read_texts(
    lm: &dyn CausalLm,
    row: &mut TextRow<Cache>,
    texts: &[Option<Arc<[u32]>>],
) -> Result<Vec<Option<Tensor<2>>>, Error> {
    let Some(whole) = texts.iter().flatten().next_back().cloned() else {
        return Ok(texts.iter().map(|_| None).collect());
    };
    let is_prefix = |text: &Arc<[u32]>| whole.starts_with(text);
    let first = texts.iter().flatten().filter(|text| is_prefix(text)).map(|text| text.len() - 1).min();
    let at = row.shared(&whole).min(first.unwrap_or(whole.len() - 1));
    row.rewind(at);
    let mut path = Path { lm, whole: &whole, at, logits: BTreeMap::new() };
    let mut detours: Vec<Option<Tensor<2>>> = Vec::with_capacity(texts.len());
    for text in texts {
        detours.push(match text {
            Some(text) if !is_prefix(text) => Some(path.detour(row, text)?),
            _ => None,
        });
    }
    path.advance(row, whole.len())?;
    let after = |(text, detour): (&Option<Arc<[u32]>>, Option<Tensor<2>>)| {
        detour.or_else(|| path.logits.get(&(text.as_ref()?.len() - 1)).cloned())
    };
    Ok(texts.iter().zip(detours).map(after).collect())
}

/// The pass over the longest of some texts.
struct Path<'a> {
    lm: &'a dyn CausalLm,
    whole: &'a [u32],
    /// Tokens of the whole that the row holds.
    at: usize,
    /// Logits after token `i` of the whole, for every token that this pass has read.
    logits: BTreeMap<usize, Tensor<2>>,
}

impl Path<'_> {
    fn advance(&mut self, row: &mut TextRow<Cache>, to: usize) -> Result<(), Error> {
        if self.at >= to {
            return Ok(());
        }
        let logits = read_tokens(row, self.lm, &self.whole[self.at..to])?;
        let vocab = logits.dims()[2];
        for place in 0..to - self.at {
            let after = logits.clone().slice([0..1, place..place + 1, 0..vocab]).reshape([1, vocab]);
            self.logits.insert(self.at + place, after);
        }
        self.at = to;
        Ok(())
    }

    /// Logits after a text that leaves the path; the row then holds what the two share.
    fn detour(&mut self, row: &mut TextRow<Cache>, text: &[u32]) -> Result<Tensor<2>, Error> {
        let fork = shared_prefix_len(text, self.whole).min(text.len() - 1);
        self.advance(row, fork)?;
        self.at = fork;
        row.rewind(fork);
        let [logits] = read_to_last(row, [self.lm], &text[fork..])?;
        row.rewind(fork);
        Ok(logits)
    }
}

impl CausalLm for RetokenizedValue {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn max_positions(&self) -> usize {
        self.value.max_positions()
    }

    fn device(&self) -> Device {
        self.value.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Text(TextCache::new(padding, &[self.value.new_cache(&[0])]))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        let all = self.read(tokens, seq, cache)?;
        Ok(self.base_logits(&all).reshape([batch, seq, self.vocab.size()]))
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        let dims = tokens.dims();
        let selected: Vec<ValueLogits> = match at {
            Positions::Last => self.read(tokens, 1, cache)?,
            Positions::All => self.read(tokens, dims[1], cache)?,
            Positions::Indices(indices) => {
                let all = self.read(tokens, dims[1], cache)?;
                indices.iter().map(|&at| all[at].clone()).collect()
            }
        };
        Ok(SelectedLogits::computed(selected.len(), move |rows| self.base_logits(&selected[rows])))
    }

    /// The name and the bytes are the value's; it reads the text in its own tokens whatever the base reads.
    fn info(&self) -> ModelInfo {
        let value = self.value.info();
        ModelInfo::new(value.name).cache_bytes(value.cache_bytes)
    }
}
