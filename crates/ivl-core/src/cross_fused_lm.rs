//! A base and a value of another vocabulary as one causal LM.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::byte_trie::ByteTrie;
use crate::generate::to_host;
use crate::retokenizer::{Context, Reader};
use crate::text_cache::{TextCache, TextRow, shared};
use crate::{Cache, CausalLm, Error, Fusion, LazyParts, Parts, Projection, Retokenizer, Vocab, VocabMap};

/// A base with a value that cuts texts into other tokens: `l = b + alpha M(v)`.
///
/// The value always reads *its own* tokenisation of the text so far. When new base tokens change the last of the value's
/// tokens, its cache is cut back to what the two tokenisations share and the rest is read again. `M` is a
/// [`VocabMap`]; base ids that it leaves out get the neutral value of [`Projection::add`].
///
/// Where the base's text ends inside a character, the value has read the complete characters. A base token that goes on
/// with the character then gets the logit of the value token that holds the pending bytes and its own, if there is one,
/// and the neutral value if not. Where the value cannot read the text at all (nothing to read yet, more tokens than its
/// context, a character that its tokenizer cannot write) the base stands alone.
///
/// The logits at a position depend on the text before it and on nothing else: reading a text at once, in pieces or token
/// by token gives the same.
///
/// It is itself a [`CausalLm`]; a second value of yet another vocabulary is added by making this the base.
pub struct CrossFusedLm {
    base: Box<dyn CausalLm>,
    value: Box<dyn CausalLm>,
    alpha: f64,
    map: VocabMap,
    projection: Projection,
    reader: Reader,
    trie: ByteTrie,
    name: String,
}

/// What the value says about the next base token.
#[derive(Clone)]
enum Opinion {
    /// Logits `[1, value_vocab]` after whole characters.
    Whole(Tensor<2>),
    /// Logits `[1, value_vocab]` before some bytes of a character.
    Inside(Tensor<2>, Vec<u8>),
    /// Nothing.
    None,
}

impl CrossFusedLm {
    /// Attaches a value of another vocabulary to a base.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] if the map is not of these two, [`Error::InvalidSetting`] for an alpha that is not finite.
    pub fn new(
        base: Box<dyn CausalLm>,
        value: Box<dyn CausalLm>,
        alpha: f64,
        map: VocabMap,
        tokenizer: Box<dyn Retokenizer>,
    ) -> Result<Self, Error> {
        crate::fused_lm::check_alpha(alpha)?;
        map.check(base.vocab(), value.vocab())?;
        let reader = Reader::new(tokenizer, base.vocab(), value.vocab(), &map);
        let limiting = if value.max_positions() < base.max_positions() { &value } else { &base };
        Ok(Self {
            name: limiting.name().to_owned(),
            trie: ByteTrie::new(value.vocab()),
            projection: map.on(&value.device()),
            base,
            value,
            alpha,
            map,
            reader,
        })
    }

    /// What the value says at the last `wanted` of new positions.
    fn opinions(&self, row: &mut TextRow, new: &[u32], wanted: usize) -> Vec<Opinion> {
        let contexts = row.extend(&self.reader, new, wanted);
        let readable = |context: &Context| {
            let tokens = context.tokens.clone()?;
            (!tokens.is_empty() && tokens.len() <= self.value.max_positions()).then_some(tokens)
        };
        let texts: Vec<Option<Arc<[u32]>>> = contexts.iter().map(readable).collect();
        let logits = read_texts(&*self.value, row, &texts);
        let opinion = |(logits, context): (Option<Tensor<2>>, Context)| match logits {
            None => Opinion::None,
            Some(logits) if context.pending.is_empty() => Opinion::Whole(logits),
            Some(logits) => Opinion::Inside(logits, context.pending),
        };
        logits.into_iter().zip(contexts).map(opinion).collect()
    }

    /// Base logits `[n, base_vocab]` and what the opinions add to them.
    fn parts(&self, base: Tensor<2>, opinions: &[Opinion]) -> Parts {
        let [count, vocab] = base.dims();
        debug_assert_eq!(opinions.len(), count);
        let whole = |opinion: &Opinion| match opinion {
            Opinion::Whole(logits) => Some(logits.clone()),
            _ => None,
        };
        if let Some(logits) = opinions.iter().map(whole).collect::<Option<Vec<_>>>() {
            let mapped = self.projection.rows(Tensor::cat(logits, 0));
            return Parts::new(base).with(mapped, self.projection.without(), self.alpha);
        }
        let nothing = || Tensor::zeros([1, vocab], (&self.value.device(), DType::F32));
        let rows = opinions.iter().map(|opinion| match opinion {
            Opinion::None => (nothing(), nothing()),
            Opinion::Inside(logits, pending) => self.inside(logits.clone(), pending),
            Opinion::Whole(logits) => {
                let mapped = self.projection.rows(logits.clone()).cast(DType::F32);
                (mapped, self.projection.without().unwrap_or_else(nothing))
            }
        });
        let (mapped, without): (Vec<_>, Vec<_>) = rows.unzip();
        Parts::new(base).with(Tensor::cat(mapped, 0), Some(Tensor::cat(without, 0)), self.alpha)
    }

    /// Adds opinions to rows of base logits `[n, base_vocab]`.
    fn add(&self, base: Tensor<2>, opinions: &[Opinion]) -> Tensor<2> {
        self.parts(base, opinions).fused(1.0)
    }

    /// What the value says at every new position, row by row.
    fn all_opinions(&self, tokens: Tensor<2, Int>, text: &mut TextCache, wanted: usize) -> Vec<Opinion> {
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
        let vocab = self.base.vocab();
        let value_of = |id: u32| {
            let bytes = vocab.text_bytes(id);
            let continues = bytes.first().is_some_and(|byte| (0x80..0xc0).contains(byte));
            let found = continues.then(|| self.trie.find(&[pending, bytes].concat())).flatten()?;
            Some(logits[self.trie.id(found) as usize] * self.map.weight(id))
        };
        let values: Vec<Option<f32>> = (0..vocab.size() as u32).map(value_of).collect();
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

impl CausalLm for CrossFusedLm {
    fn vocab(&self) -> &Vocab {
        self.base.vocab()
    }

    fn max_positions(&self) -> usize {
        self.base.max_positions().min(self.value.max_positions())
    }

    fn device(&self) -> Device {
        self.base.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        let text = TextCache::new(padding, &[&*self.value]);
        Cache::Fused(vec![self.base.new_cache(padding), Cache::Text(text)])
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let (base_cache, text) = cache.base_and_text();
        let base = self.base.forward(tokens.clone(), base_cache).cast(DType::F32);
        let [batch, seq, vocab] = base.dims();
        if self.alpha == 0.0 {
            return base;
        }
        let opinions = self.all_opinions(tokens, text, seq);
        self.add(base.reshape([batch * seq, vocab]), &opinions).reshape([batch, seq, vocab])
    }

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let (base_cache, text) = cache.base_and_text();
        let base = self.base.next_logits(tokens.clone(), base_cache).cast(DType::F32);
        if self.alpha == 0.0 {
            return base;
        }
        let opinions = self.all_opinions(tokens, text, 1);
        self.add(base, &opinions)
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.base.reads_at_once(positions)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Fusion for CrossFusedLm {
    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> LazyParts<'_> {
        let (base_cache, text) = cache.base_and_text();
        let base = self.base.lazy_logits_at(tokens.clone(), positions.clone(), base_cache);
        let seq = tokens.dims()[1];
        let all = self.all_opinions(tokens, text, seq);
        let at = host_ids(positions.unsqueeze());
        let opinions: Vec<Opinion> = at.iter().map(|&at| all[at as usize].clone()).collect();
        Box::new(move |rows| self.parts(base(rows.clone()), &opinions[rows]))
    }
}

/// Token ids on the host: what a text is made of.
pub(crate) fn host_ids(tokens: Tensor<2, Int>) -> Vec<u32> {
    let ids: Vec<i32> =
        tokens.cast(burn::tensor::IntDType::I32).into_data().try_into_vec().unwrap_or_default();
    ids.into_iter().map(|id| id as u32).collect()
}
