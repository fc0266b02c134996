//! Exact fusion over bytes: a base, a value of another vocabulary, and the small base that the value was trained on.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::cache::{ByteState, Cache, TextCache, TextRow};
use crate::causal_lm::{CacheBytes, CausalLm, ModelInfo, Positions, SelectedLogits};
use crate::cross_tokenizer::Retokenizer;
use crate::cross_tokenizer::byte_events::{Ahead, Events, Hypothesis, Next, State, Unseen};
use crate::cross_tokenizer::reader::{Context, Reader, read_to_last};
use crate::error::Error;
use crate::fusion::{
    BaseLm, CumulativeLogits, IndependentValues, LogitComponents, MappedLogits, RowBytes, RowWeighted,
    RowWeights, SelectedComponents, ValueStack, bridge_lm, check_alpha, put_back,
};
use crate::tokens::{host_ids, to_host, token_tensor};
use crate::vocab::{Vocab, VocabMap};

/// Value tokens at the end of a text that may turn out to be the beginning of a longer one.
const LOOK_BACK: usize = 8;

/// How far byte-level fusion looks.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ByteFusionConfig {
    /// Look ahead until base tokens that are not seen to their end have at most this probability together.
    pub unseen: f64,
    /// Look ahead after at most this many token sequences in a step; 0 never looks ahead.
    pub branches: usize,
}

impl Default for ByteFusionConfig {
    fn default() -> Self {
        Self { unseen: 0.01, branches: 64 }
    }
}

impl ByteFusionConfig {
    /// Sets [`unseen`](Self::unseen).
    #[must_use]
    pub fn unseen(mut self, unseen: f64) -> Self {
        self.unseen = unseen;
        self
    }

    /// Sets [`branches`](Self::branches).
    #[must_use]
    pub fn branches(mut self, branches: usize) -> Self {
        self.branches = branches;
        self
    }
}

/// The parts of a [`ByteFusedLm`].
pub struct ByteFusion<'a> {
    /// The base, which may have values itself.
    pub base: BaseLm,
    /// The base that the value was trained on.
    pub reference: Box<dyn CausalLm>,
    /// The value.
    pub value: Box<dyn CausalLm>,
    /// The weight of the value.
    pub alpha: f64,
    /// Pairs control tokens of base and value, which have no bytes.
    pub map: &'a VocabMap,
    /// The tokenizer of reference and value.
    pub tokenizer: Box<dyn Retokenizer>,
    /// How far to look.
    pub config: ByteFusionConfig,
}

/// A base with a value of another vocabulary, fused over bytes: `l(i) = b(i) + log p_v(E_i) - log p_ref(E_i)`.
///
/// `p_ref` is the small base that the value was trained on and `p_v` is proportional to `p_ref e^(alpha v)`, both over the
/// value's tokens. `E_i` is the event that the value's tokens agree with base token `i`: they spell the text so far and
/// then the bytes of `i`, and the token that reaches the end of `i` may go beyond it, unless it would have made the base
/// choose a longer token. Where the vocabularies are equal, `E_i` is the token `i` itself and the fusion that of one
/// vocabulary. `docs/vocabularies.md` defines the event and derives the bound.
///
/// A base token of several value tokens needs the probabilities after the first of them. They are computed for the most
/// probable base tokens, until the others have at most the probability [`ByteFusionConfig::unseen`]; their remainder is then
/// taken as neutral. With U those others, q the distribution here and p the exact one,
/// `TV(p, q) <= max(q(U), p(U))`; [`unseen`](Self::unseen) says how large q(U) became.
pub struct ByteFusedLm {
    base: BaseLm,
    reference: Box<dyn CausalLm>,
    value: Box<dyn CausalLm>,
    alpha: f64,
    config: ByteFusionConfig,
    events: Events,
    reader: Reader,
    unseen: Cell<f64>,
}

impl ByteFusedLm {
    /// Fuses a base with a value of another vocabulary.
    ///
    /// # Errors
    /// [`Error::ForeignReference`] if reference and value have not the same vocabulary, [`Error::ForeignMap`] if the map is
    /// not of base and value, [`Error::InvalidSetting`] for settings outside their range.
    pub fn new(parts: ByteFusion<'_>) -> Result<Self, Error> {
        let ByteFusion { base, reference, value, alpha, map, tokenizer, config } = parts;
        check_alpha(alpha)?;
        if !(0.0..=1.0).contains(&config.unseen) {
            let got = config.unseen.to_string();
            return Err(Error::InvalidSetting { name: "unseen", expected: "a probability, 0 to 1", got });
        }
        map.check(base.vocab(), value.vocab())?;
        let fingerprints = (reference.vocab().fingerprint(), value.vocab().fingerprint());
        if fingerprints.0 != fingerprints.1 || reference.vocab().size() != value.vocab().size() {
            let [reference, value] = [fingerprints.0, fingerprints.1].map(|print| print[..12].to_owned());
            return Err(Error::ForeignReference { reference, value });
        }
        let events = Events::new(base.vocab(), value.vocab(), map);
        let reader = Reader::new(tokenizer, base.vocab(), value.vocab(), map);
        let [reference, value] = [reference, value].map(|lm| bridge_lm(lm, &base.device()));
        Ok(Self { base, reference, value, alpha, config, events, reader, unseen: Cell::new(0.0) })
    }

    /// The largest probability of base tokens that were not seen to their end, in any step so far.
    pub fn unseen(&self) -> f64 {
        self.unseen.get()
    }

    fn lms(&self) -> [&dyn CausalLm; 2] {
        [&*self.reference, &*self.value]
    }

    /// Bytes of cache of reference and value.
    fn value_bytes(&self) -> CacheBytes {
        self.lms().map(|lm| lm.info().cache_bytes).into_iter().sum()
    }

    fn value_positions(&self) -> usize {
        self.reference.max_positions().min(self.value.max_positions())
    }

    /// Lets reference and value read the text, and keeps the probabilities after its last tokens.
    fn read(&self, row: &mut TextRow<Cache, ByteState>, tokens: &[u32]) -> Result<(), Error> {
        let first = tokens.len().saturating_sub(LOOK_BACK + 1);
        let shared = row.shared(tokens).min(tokens.len() - 1);
        let missing = (first..shared).find(|position| !row.state.recent.contains_key(position));
        let kept = missing.unwrap_or(shared);
        if kept < row.held.len() {
            row.rewind(kept);
            row.state.recent.split_off(&kept);
        }
        while row.held.len() < tokens.len() {
            let at = row.held.len();
            let end = if at < first { first } else { at + 1 };
            let [reference, value] = read_to_last(row, self.lms(), &tokens[at..end])?;
            if end > first {
                let next = after(reference, value, row.state.alpha).pop();
                row.state.recent.extend(next.map(|next| (end - 1, next)));
            }
        }
        row.state.recent = row.state.recent.split_off(&first);
        Ok(())
    }

    /// The term that is added to one row of base logits, `log p_v(E) - log p_ref(E)`.
    fn advantages(
        &self,
        row: &mut TextRow<Cache, ByteState>,
        base: &[f32],
        context: Context,
    ) -> Result<Vec<f32>, Error> {
        let Some(tokens) =
            context.tokens.filter(|tokens| !tokens.is_empty() && tokens.len() <= self.value_positions())
        else {
            return Ok(vec![0.0; base.len()]);
        };
        self.read(row, &tokens)?;
        let (text, starts) = self.reader.last_tokens(row.text_ids(), LOOK_BACK * 4);
        let (hypotheses, next) = self.hypotheses(row, &tokens, &context.pending);
        let state = State { hypotheses, text: &text, starts: &starts };
        let next: Vec<&Next> = next.iter().map(|next| &**next).collect();
        let masses = self.events.masses(&state, &next);
        let mut known = HashMap::new();
        loop {
            let (advantages, unseen) = self.events.advantages(&state, &masses, &next, &known);
            let fused: Vec<f32> =
                base.iter().zip(&advantages).map(|(base, advantage)| base + advantage).collect();
            let (wanted, mass) = self.most_probable(&fused, unseen, known.len());
            if wanted.is_empty() || mass <= self.config.unseen {
                self.unseen.set(self.unseen.get().max(mass));
                return Ok(advantages);
            }
            self.look_ahead(row, &tokens, wanted, &mut known)?;
        }
    }

    /// How the text may go on in the value's tokens: after all of them, or with a longer token in the place of the last
    /// ones.
    fn hypotheses(
        &self,
        row: &TextRow<Cache, ByteState>,
        tokens: &[u32],
        pending: &[u8],
    ) -> (Vec<Hypothesis>, Vec<Arc<Next>>) {
        let vocab = self.value.vocab();
        let mut found = Vec::new();
        let mut tail = pending.to_vec();
        for kept in (1..=tokens.len()).rev() {
            let Some(next) = row.state.recent.get(&(kept - 1)) else { break };
            found.push((Hypothesis { kept, tail: tail.clone(), path: [1.0; 2] }, next.clone()));
            let bytes = vocab.text_bytes(tokens[kept - 1]);
            tail = [bytes, &tail].concat();
            if bytes.is_empty() || !self.events.may_grow(&tail) {
                break;
            }
        }
        found.reverse();
        let mut path = [1.0; 2];
        for index in 0..found.len() {
            found[index].0.path = path;
            let token = found.get(index + 1).map(|(hypothesis, _)| tokens[hypothesis.kept - 1]);
            if let Some(token) = token {
                let next = &found[index].1;
                path = [path[0] * next[0][token as usize], path[1] * next[1][token as usize]];
            }
        }
        found.into_iter().unzip()
    }

    /// The sequences to evaluate next, as few as hide all but [`ByteFusionConfig::unseen`], and the hidden probability.
    fn most_probable(&self, fused: &[f32], unseen: Vec<Unseen<'_>>, known: usize) -> (Vec<Ahead>, f64) {
        let largest = fused.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut total, mut weights) = (0.0, vec![0.0; self.events.entries()]);
        for (id, logit) in fused.iter().enumerate() {
            let weight = f64::from(logit - largest).exp();
            total += weight;
            if let Some(entry) = self.events.entry(id as u32) {
                weights[entry as usize] += weight;
            }
        }
        let share = |entry: u32| weights[entry as usize] / total;
        let worth = |item: Unseen<'_>| -> (f64, Ahead) {
            (item.entries.iter().copied().map(share).sum(), item.ahead)
        };
        let (mut mass, mut counted) = (0.0, vec![false; weights.len()]);
        for &entry in unseen.iter().flat_map(|item| item.entries.iter()) {
            // A base token may be hidden in several ways.
            if !std::mem::replace(&mut counted[entry as usize], true) {
                mass += share(entry);
            }
        }
        let mut order: Vec<(f64, Ahead)> = unseen.into_iter().map(worth).collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let room = self.config.branches.saturating_sub(known).min(BATCH);
        let mut left = mass;
        let needed = order.into_iter().take(room).take_while(|(worth, _)| {
            let needed = left > self.config.unseen;
            left -= worth;
            needed
        });
        (needed.map(|(_, ahead)| ahead).collect(), mass)
    }

    /// Computes the probabilities after tokens beyond the text, all of one length in one batch.
    fn look_ahead(
        &self,
        row: &TextRow<Cache, ByteState>,
        tokens: &[u32],
        wanted: Vec<Ahead>,
        known: &mut HashMap<Ahead, Arc<Next>>,
    ) -> Result<(), Error> {
        let mut groups: BTreeMap<(usize, usize), Vec<Ahead>> = BTreeMap::new();
        for ahead in wanted {
            groups.entry((ahead.0, ahead.1.len())).or_default().push(ahead);
        }
        for ((kept, len), group) in groups {
            if tokens.len() + len > self.value_positions() {
                // Beyond its context the value says nothing.
                let flat = || vec![1.0 / self.value.vocab().size() as f64; self.value.vocab().size()];
                known
                    .extend(group.into_iter().map(|ahead| (ahead, Arc::from([flat(), flat()]) as Arc<Next>)));
                continue;
            }
            let ids: Vec<u32> = group.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
            let mut logits = Vec::with_capacity(2);
            for (lm, mut cache) in self.lms().into_iter().zip(row.branches(group.len(), kept)) {
                logits.push(lm.next_logits(token_tensor(&ids, group.len(), &lm.device()), &mut cache)?);
            }
            let [reference, value] =
                <[Tensor<2>; 2]>::try_from(logits).expect("a row has a cache for each model");
            known.extend(group.into_iter().zip(after(reference, value, row.state.alpha)));
        }
        Ok(())
    }

    /// Adds the value to base logits at some positions among the new tokens, in any order.
    ///
    /// # Shapes
    /// - `base` and output: `[n, vocab]`
    /// - `tokens`: `[batch, seq]`, which the base has just read
    /// - `positions`: `n` indices into `batch * seq`, row-major
    fn join(
        &self,
        base: LogitComponents,
        tokens: Tensor<2, Int>,
        positions: &[usize],
        text: &mut TextCache<Cache, ByteState>,
    ) -> Result<LogitComponents, Error> {
        let seq = tokens.dims()[1];
        let ids = host_ids(tokens);
        if self.alpha == 0.0 {
            text.record(&ids, seq);
            return Ok(base.with_silent(1));
        }
        let alphas = vec![self.alpha; text.rows.len()];
        let advantages = self.advantages_at(base.fused(), &ids, positions, text, &alphas)?;
        Ok(base.with(MappedLogits::whole(advantages), 1.0))
    }

    /// The terms at some positions, for rows whose weight is not 0.
    ///
    /// # Shapes
    /// - `logits` and output: `[n, vocab]`
    /// - `ids`: `batch * seq`, which the base has just read
    fn advantages_at(
        &self,
        logits: Tensor<2>,
        ids: &[u32],
        positions: &[usize],
        text: &mut TextCache<Cache, ByteState>,
        alphas: &[f64],
    ) -> Result<Tensor<2>, Error> {
        let seq = ids.len() / alphas.len();
        text.advance(seq);
        let (dims, device) = (logits.dims(), logits.device());
        let logits = to_host(logits);
        let wanted: BTreeMap<usize, &[f32]> = positions.iter().copied().zip(logits.chunks(dims[1])).collect();
        let mut found: HashMap<usize, Vec<f32>> = HashMap::new();
        for (index, (row, &alpha)) in text.rows.iter_mut().zip(alphas).enumerate() {
            set_row_alpha(row, alpha);
            let (first, mut read) = (index * seq, 0);
            let new = &ids[first..first + seq];
            for (&position, base) in wanted.range(first..first + seq) {
                // All tokens up to this position, and what is to be read there.
                let end = position - first + 1;
                for context in self.reader.extend(row, &new[read..end], 1) {
                    found.insert(position, self.advantages(row, base, context)?);
                }
                read = end;
            }
            self.reader.extend(row, &new[read..], 0);
        }
        let advantages: Vec<f32> = positions.iter().flat_map(|position| &found[position]).copied().collect();
        Ok(Tensor::from_data(TensorData::new(advantages, dims), &device))
    }
}

/// Sets the weight of the value in a row; probabilities under another weight are forgotten.
fn set_row_alpha(row: &mut TextRow<Cache, ByteState>, alpha: f64) {
    if row.state.alpha != alpha {
        row.state = ByteState { alpha, ..ByteState::default() };
    }
}

/// Sequences that are looked at in one pass.
const BATCH: usize = 32;

/// Probabilities under reference and tilted reference, from rows of logits `[n, value_vocab]`.
fn after(reference: Tensor<2>, value: Tensor<2>, alpha: f64) -> Vec<Arc<Next>> {
    let vocab = reference.dims()[1];
    let reference = reference.cast(DType::F32);
    let tilted = reference.clone() + value.cast(DType::F32).mul_scalar(alpha);
    let [reference, tilted] = [reference, tilted].map(|logits| to_host(softmax(logits, 1)));
    let row = |(a, b): (&[f32], &[f32])| -> Arc<Next> {
        Arc::from([a, b].map(|row| row.iter().map(|&p| f64::from(p)).collect::<Vec<f64>>()))
    };
    reference.chunks(vocab).zip(tilted.chunks(vocab)).map(row).collect()
}

impl From<ByteFusedLm> for BaseLm {
    fn from(lm: ByteFusedLm) -> Self {
        Self::stack(lm)
    }
}

impl CausalLm for ByteFusedLm {
    fn vocab(&self) -> &Vocab {
        self.base.vocab()
    }

    fn max_positions(&self) -> usize {
        self.base.max_positions().min(self.value_positions())
    }

    fn device(&self) -> Device {
        self.base.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        let text = TextCache::new(padding, &self.lms().map(|lm| lm.new_cache(&[0])));
        Cache::Fused(vec![self.base.new_cache(padding), Cache::Bytes(text)])
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        let logits = self.select_logits(tokens, Positions::All, cache)?.all();
        Ok(logits.reshape([batch as i64, seq as i64, -1]))
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        Ok(self.component_logits(tokens, at, cache)?.into_logits())
    }

    fn info(&self) -> ModelInfo {
        let base = self.base.info();
        let bytes = base.cache_bytes + self.value_bytes();
        base.cache_bytes(bytes)
    }
}

impl ValueStack for ByteFusedLm {
    fn alphas(&self) -> Vec<f64> {
        let mut alphas = self.base.alphas();
        alphas.push(self.alpha);
        alphas
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        self.base.set_alpha_above(&mut self.alpha, value, alpha)
    }

    /// How far to look ahead depends on the base's logits, so all that are wanted are computed at once.
    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error> {
        let (base_cache, text) = caches(cache)?;
        let wanted = at.indices(tokens.dims());
        let base = self.base.component_logits(tokens.clone(), at, base_cache)?.all();
        Ok(SelectedComponents::new(self.join(base, tokens, &wanted, text)?))
    }
}

impl RowWeighted for ByteFusedLm {
    fn forward_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        let (base_cache, text) = caches(cache)?;
        let own = self.base.num_values();
        let readers = rows.readers(own);
        let mut all = self.base.forward_rows(tokens.clone(), rows, base_cache)?;
        let below = all.last();
        if readers.is_empty() {
            all.push(below);
            return Ok(all);
        }
        let logits = readers.of(&below);
        let ([count, wanted, _], seq) = (logits.dims(), tokens.dims()[1]);
        let positions: Vec<usize> =
            (0..count).flat_map(|row| (row + 1) * seq - wanted..(row + 1) * seq).collect();
        let (ids, alphas) = (host_ids(readers.of(&tokens)), rows.weights_of(own));
        let flat = logits.clone().flatten(0, 1);
        let advantages = self.advantages_at(flat, &ids, &positions, text, &alphas)?;
        all.push(put_back(&below, logits.clone() + advantages.reshape(logits.dims()), readers.places()));
        Ok(all)
    }

    fn num_cascade_values(&self) -> usize {
        self.base.num_cascade_values()
    }

    fn row_bytes(&self) -> RowBytes {
        self.base.row_bytes().with_value(self.value_bytes())
    }

    /// The value looks ahead from the base's logits.
    fn independent_values(&self) -> Option<&dyn IndependentValues> {
        None
    }
}

fn caches(cache: &mut Cache) -> Result<(&mut Cache, &mut TextCache<Cache, ByteState>), Error> {
    let (base, values) = cache.base_and_values(1)?;
    Ok((base, values[0].byte_text()?))
}
