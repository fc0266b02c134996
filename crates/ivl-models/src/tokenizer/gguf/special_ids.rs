//! The ids of special tokens in the metadata of a GGUF file.

use super::error::GgufTokenizerError;

/// Ids of special tokens, by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpecialIds {
    /// Begins a text.
    pub(super) bos: Option<u32>,
    /// Ends a text.
    pub(super) eos: Option<u32>,
    /// Ends a turn.
    pub(super) eot: Option<u32>,
    /// Ends a message that calls a tool.
    pub(super) eom: Option<u32>,
    /// Stands for text without a token.
    pub(super) unknown: Option<u32>,
    /// Fills batches.
    pub(super) padding: Option<u32>,
    /// Stands between two texts.
    pub(super) separator: Option<u32>,
    /// Stands for hidden text.
    pub(super) mask: Option<u32>,
}

/// The key of each id, and its role in a `tokenizer_config.json`. The separator is written as llama.cpp writes it.
pub(super) const KEYS: [(&str, &str); 8] = [
    ("tokenizer.ggml.bos_token_id", "bos_token"),
    ("tokenizer.ggml.eos_token_id", "eos_token"),
    ("tokenizer.ggml.eot_token_id", "eot_token"),
    ("tokenizer.ggml.eom_token_id", "eom_token"),
    ("tokenizer.ggml.unknown_token_id", "unk_token"),
    ("tokenizer.ggml.padding_token_id", "pad_token"),
    ("tokenizer.ggml.seperator_token_id", "sep_token"),
    ("tokenizer.ggml.mask_token_id", "mask_token"),
];

impl SpecialIds {
    /// Ids in the order of [`KEYS`].
    pub(super) fn in_order(&self) -> [Option<u32>; 8] {
        [self.bos, self.eos, self.eot, self.eom, self.unknown, self.padding, self.separator, self.mask]
    }

    /// Ids from a function of their keys.
    pub(super) fn read<E>(mut id: impl FnMut(&'static str) -> Result<Option<u32>, E>) -> Result<Self, E> {
        let mut ids = [None; 8];
        for (slot, (key, _)) in ids.iter_mut().zip(KEYS) {
            *slot = id(key)?;
        }
        let [bos, eos, eot, eom, unknown, padding, separator, mask] = ids;
        Ok(Self { bos, eos, eot, eom, unknown, padding, separator, mask })
    }

    /// Ids without those that SentencePiece gives every vocabulary: llama.cpp assumes them, too.
    pub(super) fn or_sentencepiece(self) -> Self {
        Self {
            bos: self.bos.or(Some(1)),
            eos: self.eos.or(Some(2)),
            unknown: self.unknown.or(Some(0)),
            ..self
        }
    }

    /// Refuses ids that no token has.
    pub(super) fn check(&self, tokens: usize) -> Result<(), GgufTokenizerError> {
        for (id, (key, _)) in self.in_order().into_iter().zip(KEYS) {
            if let Some(got) = id
                && got as usize >= tokens
            {
                return Err(GgufTokenizerError::SpecialId { key, got, tokens });
            }
        }
        Ok(())
    }

    /// The tokens that end a text or a turn.
    pub(super) fn ends(&self) -> impl Iterator<Item = u32> {
        [self.eos, self.eot, self.eom].into_iter().flatten()
    }
}
