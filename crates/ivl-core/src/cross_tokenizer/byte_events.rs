//! Which value tokens agree with which base token: the events of byte-level fusion.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cross_tokenizer::byte_trie::ByteTrie;
use crate::vocab::{TokenKind, Vocab, VocabMap};

/// Probabilities of one event under the reference and under the reference tilted by the value.
pub(crate) type Pair = [f64; 2];

/// Next-token probabilities of both, by value id.
pub(crate) type Next = [Vec<f64>];

/// No base token.
const NONE: u32 = u32::MAX;

/// A way in which the text so far may continue in the value's tokens: its first `kept` tokens stay, and the next token
/// starts with the bytes of the rest.
#[derive(Debug, Clone)]
pub(crate) struct Hypothesis {
    /// Tokens of the value's tokenization that stay.
    pub(crate) kept: usize,
    /// The bytes after them.
    pub(crate) tail: Vec<u8>,
    /// Probability of the tokens that stay, relative to the hypothesis that keeps the fewest.
    pub(crate) path: Pair,
}

/// Tokens beyond a hypothesis: `kept`, then these ids.
pub(crate) type Ahead = (usize, Vec<u32>);

/// Base tokens that begin with one value token of a hypothesis and go beyond it.
struct Cover<'a> {
    hypothesis: usize,
    first: u32,
    entries: Cow<'a, [u32]>,
}

/// Base tokens whose event was not seen to its end, and the tokens after which the probabilities are still to be known.
pub(crate) struct Unseen<'a> {
    pub(crate) ahead: Ahead,
    pub(crate) entries: Cow<'a, [u32]>,
}

/// The state of a text: how it may continue, and where base tokens ended.
pub(crate) struct State<'a> {
    /// From the one that keeps the fewest tokens to the one that keeps all.
    pub(crate) hypotheses: Vec<Hypothesis>,
    /// The end of the text: the bytes of the last base tokens.
    pub(crate) text: &'a [u8],
    /// Where base tokens begin in it, in order; each ends where the next begins, the last at the end.
    pub(crate) starts: &'a [usize],
}

/// The sums of every base token, and the sequences still to be evaluated.
pub(crate) struct Masses<'a> {
    /// By entry of the base's trie.
    direct: Vec<Pair>,
    covers: Vec<Cover<'a>>,
    /// The mass of everything that agrees with the text so far.
    total: Pair,
    end: Pair,
}

/// The two vocabularies as tries, with precomputed indices.
pub(crate) struct Events {
    base: ByteTrie,
    value: ByteTrie,
    /// The first entry with the bytes of each base id.
    entry_of_base: Vec<u32>,
    /// The longest base token that each value token starts with.
    claims: Vec<u32>,
    /// Base tokens that are no value token, by the longest value token that they start with.
    split: BTreeMap<u32, Vec<u32>>,
    /// Base and value control tokens of the same meaning.
    controls: Vec<(u32, u32)>,
}

impl Events {
    pub(crate) fn new(base_vocab: &Vocab, value_vocab: &Vocab, map: &VocabMap) -> Self {
        let (base, value) = (ByteTrie::new(base_vocab), ByteTrie::new(value_vocab));
        let mut entry_of_base = vec![NONE; base_vocab.size()];
        let mut split: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for index in 0..base.len() {
            let same = index > 0 && base.bytes(index) == base.bytes(index - 1);
            let entry = if same { entry_of_base[base.id(index - 1) as usize] } else { index as u32 };
            entry_of_base[base.id(index) as usize] = entry;
            if !same
                && value.find(base.bytes(index)).is_none()
                && let Some(first) = value.longest_prefix_of(base.bytes(index))
            {
                split.entry(first as u32).or_default().push(entry);
            }
        }
        let claim = |index| base.longest_prefix_of(value.bytes(index)).map_or(NONE, |entry| entry as u32);
        let claims = (0..value.len()).map(claim).collect();
        let control = |id: u32| {
            let other = map.value_id(id)?;
            (base_vocab.token(id)?.kind == TokenKind::Control).then_some((id, other))
        };
        let controls = (0..base_vocab.size() as u32).filter_map(control).collect();
        Self { base, value, entry_of_base, claims, split, controls }
    }

    /// Whether a token longer than `tail` starts with it: then the text may go on inside that token.
    pub(crate) fn may_grow(&self, tail: &[u8]) -> bool {
        let node = self.value.starting_with(tail);
        !node.is_empty() && self.value.bytes(node.end - 1).len() > tail.len()
    }

    /// Sums what each hypothesis gives to each base token in one value token; `next` are the probabilities after the
    /// tokens that each hypothesis keeps.
    pub(crate) fn masses(&self, state: &State<'_>, next: &[&Next]) -> Masses<'_> {
        let mut masses = Masses {
            direct: vec![[0.0; 2]; self.base.len()],
            covers: Vec::new(),
            total: [0.0; 2],
            end: [0.0; 2],
        };
        for (index, (hypothesis, next)) in state.hypotheses.iter().zip(next).enumerate() {
            if hypothesis.tail.is_empty() {
                self.add_whole(&mut masses, index, hypothesis, next);
            } else {
                self.add_tail(&mut masses, state, index, next);
            }
        }
        masses
    }

    /// All tokens are possible.
    fn add_whole<'a>(&'a self, masses: &mut Masses<'a>, index: usize, hypothesis: &Hypothesis, next: &Next) {
        for (token, &entry) in self.claims.iter().enumerate() {
            if entry != NONE {
                add(&mut masses.direct[entry as usize], hypothesis.path, at(next, self.value.id(token)));
            }
        }
        masses.covers.extend(self.split.iter().map(|(&first, entries)| Cover {
            hypothesis: index,
            first,
            entries: Cow::Borrowed(entries),
        }));
        masses.end = hypothesis.path;
        add(&mut masses.total, hypothesis.path, [1.0; 2]);
    }

    /// Tokens that start with the tail and go beyond it.
    fn add_tail(&self, masses: &mut Masses<'_>, state: &State<'_>, index: usize, next: &Next) {
        let Hypothesis { tail, path, .. } = &state.hypotheses[index];
        for token in self.value.starting_with(tail) {
            let beyond = &self.value.bytes(token)[tail.len()..];
            if beyond.is_empty() || self.contradicts(state, tail.len(), beyond) {
                continue;
            }
            let mass = at(next, self.value.id(token));
            add(&mut masses.total, *path, mass);
            if let Some(entry) = self.base.longest_prefix_of(beyond) {
                add(&mut masses.direct[entry], *path, mass);
            }
            self.add_covers(masses, index, tail, token, beyond);
        }
        let keeps_all = index + 1 == state.hypotheses.len();
        if keeps_all && let Some(first) = self.value.longest_prefix_of(tail) {
            // The bytes of a character that waits for its rest may be tokens of their own.
            add(&mut masses.total, *path, at(next, self.value.id(first)));
            self.add_covers(masses, index, tail, first, &[]);
        }
    }

    /// Base tokens that go beyond a value token which is the longest that they start with.
    fn add_covers(
        &self,
        masses: &mut Masses<'_>,
        hypothesis: usize,
        tail: &[u8],
        first: usize,
        beyond: &[u8],
    ) {
        if first > 0 && self.value.bytes(first) == self.value.bytes(first - 1) {
            return;
        }
        let (mut last, mut whole, mut entries) = (usize::MAX, tail.to_vec(), Vec::new());
        for entry in self.base.starting_with(beyond) {
            let bytes = self.base.bytes(entry);
            let repeated = last != usize::MAX && bytes == self.base.bytes(last);
            last = entry;
            if repeated || bytes.len() == beyond.len() {
                continue;
            }
            whole.truncate(tail.len());
            whole.extend_from_slice(bytes);
            if self.value.longest_prefix_of(&whole) == Some(first) {
                entries.push(entry as u32);
            }
        }
        if !entries.is_empty() {
            masses.covers.push(Cover { hypothesis, first: first as u32, entries: Cow::Owned(entries) });
        }
    }

    /// Whether a token that goes `beyond` the text would have made the base choose another token on the way: one that is
    /// longer than the one it chose, and reaches beyond the text.
    fn contradicts(&self, state: &State<'_>, tail: usize, beyond: &[u8]) -> bool {
        let inside = state.text.len().saturating_sub(tail);
        let ends = state.starts.iter().skip(1).copied().chain([state.text.len()]);
        state.starts.iter().zip(ends).any(|(&start, end)| {
            end > inside && {
                let known = state.text.len() - start;
                let rest = [&state.text[start..], beyond].concat();
                self.base.longest_prefix_of(&rest).is_some_and(|entry| self.base.bytes(entry).len() > known)
            }
        })
    }

    /// The mass of one base token's remainder after the tokens `ahead`.
    ///
    /// # Errors
    /// The tokens after which the probabilities are not known.
    fn remainder(
        &self,
        entry: usize,
        rest: &[u8],
        ahead: &mut Ahead,
        known: &HashMap<Ahead, Arc<Next>>,
    ) -> Result<Pair, Ahead> {
        let next = known.get(ahead).ok_or_else(|| ahead.clone())?;
        let mut mass = [0.0; 2];
        for token in self.value.starting_with(rest) {
            let beyond = &self.value.bytes(token)[rest.len()..];
            let whole = [self.base.bytes(entry), beyond].concat();
            let claimed = self.base.longest_prefix_of(&whole);
            if claimed.is_some_and(|longest| self.base.bytes(longest).len() == self.base.bytes(entry).len()) {
                add(&mut mass, [1.0; 2], at(next, self.value.id(token)));
            }
        }
        if self.value.find(rest).is_none()
            && let Some(first) = self.value.longest_prefix_of(rest)
        {
            let one = at(next, self.value.id(first));
            ahead.1.push(self.value.id(first));
            let inner = self.remainder(entry, &rest[self.value.bytes(first).len()..], ahead, known);
            ahead.1.pop();
            add(&mut mass, one, inner?);
        }
        Ok(mass)
    }

    /// `log p_tilted(E) - log p_reference(E)` for every base id, and the base tokens whose event was not seen to its end.
    ///
    /// A remainder that is not known is taken as neutral: as probable under the tilted reference as under the reference.
    pub(crate) fn advantages<'a>(
        &self,
        state: &State<'_>,
        masses: &'a Masses<'_>,
        next: &[&Next],
        known: &HashMap<Ahead, Arc<Next>>,
    ) -> (Vec<f32>, Vec<Unseen<'a>>) {
        let (mut sums, mut unseen) = (masses.direct.clone(), Vec::new());
        for cover in &masses.covers {
            let Hypothesis { kept, tail, path } = &state.hypotheses[cover.hypothesis];
            let (first, id) = (cover.first as usize, self.value.id(cover.first as usize));
            let mass = at(next[cover.hypothesis], id);
            let mut ahead = (*kept, vec![id]);
            if !known.contains_key(&ahead) {
                cover.entries.iter().for_each(|&entry| add(&mut sums[entry as usize], *path, mass));
                unseen.push(Unseen { ahead, entries: Cow::Borrowed(&cover.entries) });
                continue;
            }
            let mut further: BTreeMap<Ahead, Vec<u32>> = BTreeMap::new();
            for &entry in cover.entries.iter() {
                let bytes = self.base.bytes(entry as usize);
                let rest = &[tail, bytes].concat()[self.value.bytes(first).len()..];
                let remainder =
                    self.remainder(entry as usize, rest, &mut ahead, known).unwrap_or_else(|ahead| {
                        further.entry(ahead).or_default().push(entry);
                        [1.0; 2]
                    });
                add(&mut sums[entry as usize], *path, [mass[0] * remainder[0], mass[1] * remainder[1]]);
            }
            let further = further.into_iter();
            unseen.extend(further.map(|(ahead, entries)| Unseen { ahead, entries: Cow::Owned(entries) }));
        }
        let advantage = |mass: Pair| {
            let ratio = (mass[1] / masses.total[1]).ln() - (mass[0] / masses.total[0]).ln();
            if ratio.is_finite() { ratio as f32 } else { 0.0 }
        };
        let of_entry = |&entry: &u32| if entry == NONE { 0.0 } else { advantage(sums[entry as usize]) };
        let mut advantages: Vec<f32> = self.entry_of_base.iter().map(of_entry).collect();
        if let Some(next) = next.last() {
            for &(id, other) in &self.controls {
                let mass = at(next, other);
                advantages[id as usize] = advantage([masses.end[0] * mass[0], masses.end[1] * mass[1]]);
            }
        }
        (advantages, unseen)
    }

    /// The entry of a base id, under which [`Unseen`] has it; control tokens have none.
    pub(crate) fn entry(&self, id: u32) -> Option<u32> {
        Some(self.entry_of_base[id as usize]).filter(|&entry| entry != NONE)
    }

    /// Number of entries.
    pub(crate) fn entries(&self) -> usize {
        self.base.len()
    }
}

fn at(next: &Next, id: u32) -> Pair {
    [next[0][id as usize], next[1][id as usize]]
}

fn add(sum: &mut Pair, path: Pair, mass: Pair) {
    sum[0] += path[0] * mass[0];
    sum[1] += path[1] * mass[1];
}
