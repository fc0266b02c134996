//! The input of a value: the text of the base's tokens, in the value's own tokens.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::cache::{Cache, TextRow};
use crate::causal_lm::CausalLm;
use crate::cross_tokenizer::Retokenizer;
use crate::error::Error;
use crate::tokens::token_tensor;
use crate::vocab::{Role, Vocab, VocabMap};

/// Turns base tokens into text, one at a time. Bytes that do not yet make a character wait; bytes that can never make one
/// become U+FFFD, as in every decoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Transcript {
    /// Complete characters.
    text: String,
    /// Bytes of the character that is not complete.
    pending: Vec<u8>,
    started: bool,
}

impl Transcript {
    /// Adds the bytes of a token. The space that a tokenizer gave the text's beginning is not part of the text.
    fn push(&mut self, mut bytes: &[u8], adds_space: bool) {
        if bytes.is_empty() {
            return;
        }
        if !self.started && adds_space {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.started = true;
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            self.text.push_str(&String::from_utf8_lossy(&rest[..error.valid_up_to()]));
            rest = &rest[error.valid_up_to()..];
            let Some(invalid) = error.error_len() else {
                self.pending = rest.to_vec();
                return;
            };
            self.text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[invalid..];
        }
        self.text.push_str(&String::from_utf8_lossy(rest));
    }
}

/// The tokens that a value has to read at one position of the base.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The text so far in the value's tokens; `None` if the value's tokenizer cannot write it.
    pub(crate) tokens: Option<Arc<[u32]>>,
    /// Bytes of a character that is not complete.
    pub(crate) pending: Vec<u8>,
}

/// Turns base tokens into the tokens of one value.
pub(crate) struct Reader {
    tokenizer: Box<dyn Retokenizer>,
    /// The text that each base token adds for the value: a control token is written by the name that the value has for
    /// it, so that the value's tokenizer finds its own.
    control_names: HashMap<u32, Box<[u8]>>,
    base: Vocab,
}

impl Reader {
    pub(crate) fn new(tokenizer: Box<dyn Retokenizer>, base: &Vocab, value: &Vocab, map: &VocabMap) -> Self {
        let name = |id: u32| -> Option<(u32, Box<[u8]>)> {
            let control = base.token(id)?.is_control() && !base.plays(id, Role::Padding);
            let counterpart = value.token(map.value_id(id).filter(|_| control)?)?;
            Some((id, counterpart.bytes.clone()))
        };
        let control_names = (0..base.size() as u32).filter_map(name).collect();
        Self { tokenizer, control_names, base: base.clone() }
    }

    /// Adds a base token to a text.
    fn push(&self, transcript: &mut Transcript, id: u32) {
        if let Some(name) = self.control_names.get(&id) {
            // The value's tokenizer writes the beginning of every text.
            if transcript.started || !self.base.plays(id, Role::Beginning) {
                transcript.push(name, false);
            }
        } else {
            transcript.push(self.base.text_bytes(id), self.base.adds_space());
        }
    }

    /// The bytes of the last `count` base tokens that are text, and where each begins; what comes before a control token
    /// is another text.
    pub(crate) fn last_tokens(&self, ids: &[u32], count: usize) -> (Vec<u8>, Vec<usize>) {
        let text = ids.iter().rev().take(count).take_while(|&&id| !self.base.text_bytes(id).is_empty());
        let first = ids.len() - text.count();
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for &id in &ids[first..] {
            starts.push(bytes.len());
            bytes.extend_from_slice(self.base.text_bytes(id));
        }
        (bytes, starts)
    }

    /// The value's tokens of a text; `None` if its tokenizer cannot write it.
    fn tokens(&self, text: &str) -> Option<Arc<[u32]>> {
        let tokens = self.tokenizer.tokenize(text).ok()?;
        Some(tokens.into_iter().map(|token| token.id).collect())
    }

    /// Adds base tokens to a row and returns what a value has to read at the last `wanted` of them. Padding has no text.
    pub(crate) fn extend<C, S>(&self, row: &mut TextRow<C, S>, new: &[u32], wanted: usize) -> Vec<Context> {
        row.ids.extend_from_slice(new);
        let first = row.ids.len() - wanted.min(new.len());
        let (mut transcript, mut contexts) = (Transcript::default(), Vec::with_capacity(wanted));
        let mut last: Option<(usize, Option<Arc<[u32]>>)> = None;
        for (position, &id) in row.ids.iter().enumerate() {
            let padding = position < row.padding;
            if !padding {
                self.push(&mut transcript, id);
            }
            if position < first {
                continue;
            }
            let len = transcript.text.len();
            if !padding && last.as_ref().is_none_or(|(of, _)| *of != len) {
                last = Some((len, self.tokens(&transcript.text)));
            }
            let tokens = last.as_ref().and_then(|(_, tokens)| tokens.clone());
            contexts.push(Context { tokens, pending: transcript.pending.clone() });
        }
        contexts
    }
}

/// Reads value tokens after those that a row holds; logits `[1, tokens, value_vocab]` of one model.
pub(crate) fn read_tokens<S>(
    row: &mut TextRow<Cache, S>,
    lm: &dyn CausalLm,
    tokens: &[u32],
) -> Result<Tensor<3>, Error> {
    let logits = lm.forward(token_tensor(tokens, 1, &lm.device()), &mut row.caches[0])?;
    row.held.extend_from_slice(tokens);
    Ok(logits)
}

/// Reads like [`read_tokens`] with several models, for the logits after the last token: `[1, value_vocab]` of each.
pub(crate) fn read_to_last<S, const N: usize>(
    row: &mut TextRow<Cache, S>,
    lms: [&dyn CausalLm; N],
    tokens: &[u32],
) -> Result<[Tensor<2>; N], Error> {
    let mut logits = Vec::with_capacity(N);
    for (lm, cache) in lms.iter().zip(&mut row.caches) {
        logits.push(lm.next_logits(token_tensor(tokens, 1, &lm.device()), cache)?);
    }
    row.held.extend_from_slice(tokens);
    Ok(logits.try_into().expect("a row has a cache for each model"))
}
