//! A value of another vocabulary, in the words of the base.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, SelectedComponents};
use crate::cross_tokenizer::Retokenizer;
use crate::cross_tokenizer::byte_trie::ByteTrie;
use crate::cross_tokenizer::retokenizer::{Context, Reader};
use crate::cross_tokenizer::text_cache::{TextCache, TextRow, shared};
use crate::decode::generate::to_host;
use crate::fusion::LogitComponents;
use crate::vocab::{Vocab, VocabMap, VocabProjection};

/// A value that cuts texts into other tokens than the base: it reads the base's tokens and answers with logits `M(v)` of the
/// base's ids, minus infinity where it says nothing. [`VocabProjection::add`] gives those ids the neutral value.
///
/// The value always reads *its own* tokenisation of the text so far. When new base tokens change the last of the value's
/// tokens, its cache is cut back to what the two tokenisations share and the rest is read again. `M` is a [`VocabMap`].
///
/// Where the base's text ends inside a character, the value has read the complete characters. A base token that goes on
/// with the character then gets the logit of the value token that holds the pending bytes and its own, if there is one.
/// Where the value cannot read the text at all (nothing to read yet, more tokens than its context, a character that its
/// tokenizer cannot write) it says nothing about any token, and the base stands alone.
///
/// The logits at a position depend on the text before it and on nothing else: reading a text at once, in pieces or token
/// by token gives the same.
pub(crate) struct RetokenizedValue {
    /// The base's.
    vocab: Vocab,
    value: Box<dyn CausalLm>,
    map: VocabMap,
    projection: VocabProjection,
    reader: Reader,
    trie: ByteTrie,
}

/// What the value says about the next base token.
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
    /// A value for a base of this vocabulary, with a map of these two.
    pub(crate) fn new(
        base: &Vocab,
        value: Box<dyn CausalLm>,
        map: VocabMap,
        tokenizer: Box<dyn Retokenizer>,
    ) -> Self {
        Self {
            vocab: base.clone(),
            reader: Reader::new(tokenizer, base, value.vocab(), &map),
            trie: ByteTrie::new(value.vocab()),
            projection: map.on(&value.device()),
            value,
            map,
        }
    }

    /// What the value says at the last `wanted` of new positions.
    fn opinions(&self, row: &mut TextRow, new: &[u32], wanted: usize) -> Vec<ValueLogits> {
        let contexts = row.extend(&self.reader, new, wanted);
        let readable = |context: &Context| {
            let tokens = context.tokens.clone()?;
            (!tokens.is_empty() && tokens.len() <= self.value.max_positions()).then_some(tokens)
        };
        let texts: Vec<Option<Arc<[u32]>>> = contexts.iter().map(readable).collect();
        let logits = read_texts(&*self.value, row, &texts);
        let opinion = |(logits, context): (Option<Tensor<2>>, Context)| match logits {
            None => ValueLogits::None,
            Some(logits) if context.pending.is_empty() => ValueLogits::Whole(logits),
            Some(logits) => ValueLogits::Inside(logits, context.pending),
        };
        logits.into_iter().zip(contexts).map(opinion).collect()
    }

    /// Opinions as logits of the base's ids, `[n, base_vocab]`, minus infinity where there is none.
    fn logits(&self, opinions: &[ValueLogits]) -> Tensor<2> {
        let silent = |logits: Tensor<2>, without: Option<Tensor<2>>| match without {
            Some(without) => logits.mask_fill(without.equal_elem(1.0), f32::NEG_INFINITY),
            None => logits,
        };
        let whole = |opinion: &ValueLogits| match opinion {
            ValueLogits::Whole(logits) => Some(logits.clone()),
            _ => None,
        };
        // All at once where the text ends between characters everywhere.
        if let Some(logits) = opinions.iter().map(whole).collect::<Option<Vec<_>>>() {
            let mapped = self.projection.rows(Tensor::cat(logits, 0)).cast(DType::F32);
            let without = self.projection.without().map(|without| without.repeat_dim(0, opinions.len()));
            return silent(mapped, without);
        }
        let rows = opinions.iter().map(|opinion| match opinion {
            ValueLogits::None => {
                Tensor::full([1, self.vocab.size()], f32::NEG_INFINITY, (&self.value.device(), DType::F32))
            }
            ValueLogits::Inside(logits, pending) => {
                let (mapped, without) = self.inside(logits.clone(), pending);
                silent(mapped, Some(without))
            }
            ValueLogits::Whole(logits) => {
                silent(self.projection.rows(logits.clone()).cast(DType::F32), self.projection.without())
            }
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// What the value says at every new position, row by row.
    fn all_opinions(&self, tokens: Tensor<2, Int>, cache: &mut Cache, wanted: usize) -> Vec<ValueLogits> {
        let text = cache.text();
        let seq = tokens.dims()[1];
        text.advance(seq);
        let ids = host_ids(tokens);
        let rows = text.rows.iter_mut().zip(ids.chunks(seq));
        rows.flat_map(|(row, new)| self.opinions(row, new, wanted)).collect()
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
        let without: Vec<f32> = values.iter().map(|value| f32::from(u8::from(value.is_none()))).collect();
        (
            Tensor::from_data(TensorData::new(mapped, shape), &device),
            Tensor::from_data(TensorData::new(without, shape), &device),
        )
    }
}

/// Logits `[1, vocab]` after each of some texts, which grow one out of the other: in one pass over the longest, with a
/// short detour for every text that is not a beginning of it.
fn read_texts(lm: &dyn CausalLm, row: &mut TextRow, texts: &[Option<Arc<[u32]>>]) -> Vec<Option<Tensor<2>>> {
    let Some(whole) = texts.iter().flatten().next_back().cloned() else {
        return texts.iter().map(|_| None).collect();
    };
    let on_the_way = |text: &Arc<[u32]>| whole.starts_with(text);
    let first = texts.iter().flatten().filter(|text| on_the_way(text)).map(|text| text.len() - 1).min();
    let mut at = row.shared(&whole).min(first.unwrap_or(whole.len() - 1));
    row.rewind(at);
    // Logits after token `i` of the whole, for every token that was read on the way.
    let mut path: BTreeMap<usize, Tensor<2>> = BTreeMap::new();
    let mut advance = |row: &mut TextRow, at: &mut usize, to: usize| {
        if *at < to {
            let logits = row.read(lm, &whole[*at..to]);
            let vocab = logits.dims()[2];
            for i in *at..to {
                path.insert(
                    i,
                    logits.clone().slice([0..1, i - *at..i - *at + 1, 0..vocab]).reshape([1, vocab]),
                );
            }
            *at = to;
        }
    };
    let mut detours: Vec<Option<Tensor<2>>> = Vec::with_capacity(texts.len());
    for text in texts {
        detours.push(text.as_ref().filter(|text| !on_the_way(text)).and_then(|text| {
            let fork = shared(text, &whole).min(text.len() - 1);
            advance(row, &mut at, fork);
            at = fork;
            row.rewind(fork);
            let logits = row.read_last(&[lm], &text[fork..]).pop();
            row.rewind(fork);
            logits
        }));
    }
    advance(row, &mut at, whole.len());
    let after = |(text, detour): (&Option<Arc<[u32]>>, Option<Tensor<2>>)| {
        detour.or_else(|| path.get(&(text.as_ref()?.len() - 1)).cloned())
    };
    texts.iter().zip(detours).map(after).collect()
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
        Cache::Text(TextCache::new(padding, &[&*self.value]))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let opinions = self.all_opinions(tokens, cache, seq);
        self.logits(&opinions).reshape([batch, seq, self.vocab.size()])
    }

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        self.logits(&self.all_opinions(tokens, cache, 1))
    }

    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let seq = tokens.dims()[1];
        let all = self.all_opinions(tokens, cache, seq);
        let opinions: Vec<ValueLogits> =
            host_ids(positions).into_iter().map(|at| all[at as usize].clone()).collect();
        Box::new(move |rows: Range<usize>| LogitComponents::new(self.logits(&opinions[rows])))
    }

    fn name(&self) -> &str {
        self.value.name()
    }
}

/// Token ids or positions on the host, row-major.
pub(crate) fn host_ids<const D: usize>(tokens: Tensor<D, Int>) -> Vec<u32> {
    tokens.into_data().iter().collect()
}
