//! Batches in the tokens of a base that cuts texts differently: positions are matched by the bytes at which they end.

use std::collections::HashMap;

use ivl_core::cross_tokenizer::{Retokenizer, match_positions};
use ivl_core::vocab::Role;
use ivl_core::{Vocab, VocabMap};

use crate::data::batch::Batch;
use crate::data::example::Example;

/// Brings batches in the value's tokens into a base's tokens.
pub struct BatchRetokenizer {
    tokenizer: Box<dyn Retokenizer>,
    value: Vocab,
    /// The text of a value's control token for the base: the name of its counterpart.
    names: HashMap<u32, Box<[u8]>>,
    /// The base's end-of-text token.
    end: Option<u32>,
    /// Most tokens that the base reads.
    max_positions: usize,
}

/// A batch as a base reads it.
#[derive(Debug, Clone)]
pub struct RetokenizedBatch {
    /// The texts, one per row, in the base's tokens, with the positions at which base and value both end and the base's
    /// next token is trained.
    pub batch: Batch,
    /// The value's positions there: indices into the tokens of the batch in the value's tokens.
    pub value_positions: Vec<u32>,
}

/// One text in the value's tokens, with the bytes that are complete after each.
struct Text {
    written: String,
    ends: Vec<usize>,
    /// Bytes that are trained, from and to.
    trained: Vec<(usize, usize)>,
    /// Whether the end of the text is trained.
    end_is_trained: bool,
}

impl BatchRetokenizer {
    /// `map` leads from the base's ids to the value's.
    pub fn new(
        tokenizer: Box<dyn Retokenizer>,
        base: &Vocab,
        value: &Vocab,
        map: &VocabMap,
        max_positions: usize,
    ) -> Self {
        let name = |id: u32| {
            let token = base.token(id).filter(|token| token.is_control())?;
            Some((map.value_id(id)?, token.bytes.clone()))
        };
        let names = (0..base.size() as u32).filter_map(name).collect();
        let end = base.role(Role::End);
        Self { tokenizer, value: value.clone(), names, end, max_positions }
    }

    /// Brings a batch into the base's tokens. Texts that the base cannot write are left out; what is beyond its context is not trained.
    pub fn retokenize(&self, batch: &Batch) -> RetokenizedBatch {
        let seq = batch.ids.len() / batch.rows.max(1);
        let mut next_token = vec![None; batch.ids.len()];
        for (&position, &target) in batch.positions.iter().zip(&batch.targets) {
            next_token[position as usize] = Some(target);
        }
        let (mut examples, mut value_positions) = (Vec::new(), Vec::new());
        for (row, segments) in batch.segments.iter().enumerate() {
            let mut start = row * seq;
            for &len in segments {
                let span = start..start + len;
                let text = self.text(&batch.ids[span.clone()], &next_token[span]);
                if let Some((example, positions)) = self.example(&text) {
                    value_positions.extend(positions.into_iter().map(|position| (start + position) as u32));
                    examples.push(example);
                }
                start += len;
            }
        }
        let step_tokens = batch.step_tokens;
        let batch = Batch { step_tokens, ..Batch::new(&examples.iter().collect::<Vec<_>>()) };
        RetokenizedBatch { batch, value_positions }
    }

    /// The text of value tokens; `next[i]` is the token after the `i`-th, if it is trained.
    fn text(&self, ids: &[u32], next: &[Option<u32>]) -> Text {
        let last = next.last().copied().flatten();
        let mut bytes: Vec<u8> = Vec::new();
        let mut raw_ends = Vec::with_capacity(ids.len() + 1);
        for &id in ids.iter().chain(&last) {
            let added = match self.value.token(id) {
                Some(token) if token.is_control() => {
                    // The base's own tokenizer writes the beginning and the end of every text.
                    let opens = self.value.plays(id, Role::Beginning) && bytes.is_empty();
                    let closes = self.value.plays(id, Role::End);
                    self.names.get(&id).filter(|_| !opens && !closes).map_or(&[][..], |name| &**name)
                }
                _ => self.value.text_bytes(id),
            };
            let added = match bytes.is_empty() && self.value.adds_space() {
                true => added.strip_prefix(b" ").unwrap_or(added),
                false => added,
            };
            bytes.extend_from_slice(added);
            raw_ends.push(bytes.len());
        }
        // A text that was cut inside a character ends before it.
        let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
        let complete =
            |end: usize| (0..=end.min(whole)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let ends: Vec<usize> = raw_ends.into_iter().map(complete).collect();
        let begins = |index: usize| if index == 0 { 0 } else { ends[index - 1] };
        let trained_tokens = (0..ids.len()).filter(|&index| next[index].is_some()).map(|index| index + 1);
        let trained = trained_tokens
            .filter(|&token| token < ends.len())
            .map(|token| (begins(token), ends[token]))
            .collect();
        let end_is_trained = last.is_some_and(|id| self.value.plays(id, Role::End));
        let ends = ends[..ids.len()].to_vec();
        Text { written: text, ends, trained, end_is_trained }
    }

    /// A text in the base's tokens, and the value's positions at which both end and the next base token is trained; `None` if the
    /// base cannot write it or nothing of it is trained.
    fn example(&self, text: &Text) -> Option<(Example, Vec<usize>)> {
        let mut written = self.tokenizer.tokenize(&text.written).ok()?;
        written.truncate(self.max_positions);
        let whole = written.last().is_some_and(|last| last.end == text.written.len());
        let mut ids: Vec<u32> = written.iter().map(|token| token.id).collect();
        let base_ends: Vec<usize> = written.iter().map(|token| token.end).collect();
        let met = match_positions(&base_ends, &text.ends);
        let inside = |byte: usize| text.trained.iter().any(|&(from, to)| from <= byte && byte < to);
        let mut loss_mask = vec![false; ids.len()];
        let mut positions = Vec::new();
        for next in 1..ids.len() {
            let adds = base_ends[next] > base_ends[next - 1];
            if let Some(position) = met[next - 1].filter(|_| adds && inside(base_ends[next - 1])) {
                loss_mask[next] = true;
                positions.push(position);
            }
        }
        if let (Some(end), true, true) = (self.end, whole, text.end_is_trained)
            && let Some(position) = met.last().copied().flatten()
        {
            ids.push(end);
            loss_mask.push(true);
            positions.push(position);
        }
        (!positions.is_empty()).then_some((Example { ids, loss_mask }, positions))
    }
}

impl RetokenizedBatch {
    /// Whether it has no trained position.
    pub fn is_empty(&self) -> bool {
        self.value_positions.is_empty()
    }
}
