//! The errors of this crate: each a situation, with its facts as fields.

/// Errors between logits and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Base and value give different meanings to the same id.
    #[error(
        "the value's vocabulary is not the base's: {count} of {compared} ids differ, first id {id}: base has \
         {base_token:?}, value has {value_token:?} (base fingerprint {base}, value {value}); attach the value \
         through a vocabulary map"
    )]
    VocabMismatch {
        /// How many ids differ.
        count: usize,
        /// How many ids both vocabularies know.
        compared: usize,
        /// The first id that differs.
        id: u32,
        /// The base's token there.
        base_token: String,
        /// The value's token there.
        value_token: String,
        /// The first digits of the base's fingerprint.
        base: String,
        /// The first digits of the value's fingerprint.
        value: String,
    },
    /// A draft whose ids mean other tokens than the target's.
    #[error(
        "the draft's vocabulary is not the target's: {count} of {compared} ids differ, first id {id}: the target has \
         {target_token:?}, the draft {draft_token:?}; draft with a smaller base of the same family, or by prompt lookup"
    )]
    ForeignDraft {
        /// How many ids differ.
        count: usize,
        /// How many ids both vocabularies know.
        compared: usize,
        /// The first id that differs.
        id: u32,
        /// The target's token there.
        target_token: String,
        /// The draft's token there.
        draft_token: String,
    },
    /// A map was made for other vocabularies.
    #[error(
        "the vocabulary map was made for {what} `{expected}`, but this {what} is `{got}`; make a new map with \
         `ivl align`"
    )]
    ForeignMap {
        /// `base` or `value`.
        what: &'static str,
        /// The fingerprint or size in the map.
        expected: String,
        /// The fingerprint or size found.
        got: String,
    },
    /// Text that a tokenizer has no tokens for.
    #[error(
        "the value's tokenizer cannot write {text:?} at byte {byte} of the text: it has no such token and no byte \
         fallback; leave the text out or use a value whose tokenizer covers it"
    )]
    Unwritable {
        /// The first character that is lost.
        text: String,
        /// Where it begins.
        byte: usize,
    },
    /// A tokenizer that failed.
    #[error("the value's tokenizer failed on the text")]
    Retokenize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The reference of a byte-level fusion has another vocabulary than the value.
    #[error(
        "the reference model of byte-level fusion must have the value's vocabulary, since the value was trained on it: \
         the reference's fingerprint is {reference}, the value's {value}"
    )]
    ForeignReference {
        /// The first digits of the reference's fingerprint.
        reference: String,
        /// The first digits of the value's fingerprint.
        value: String,
    },
    /// A cache that a model of another structure made.
    #[error(
        "the cache was made by another model: expected {expected}, got {got}; use a cache of this model's `new_cache`"
    )]
    ForeignCache {
        /// The structure of the model's own caches.
        expected: String,
        /// The structure of the cache that was given.
        got: String,
    },
    /// A prompt without tokens.
    #[error("the prompt is empty: a causal LM needs at least one token to predict the next from")]
    EmptyPrompt,
    /// A prompt that leaves no room for a new token.
    #[error(
        "the prompt has {got} tokens, but the context of {what} holds {limit}, of which at least one is for the answer; shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens in the prompt.
        got: usize,
        /// Positions that the model offers.
        limit: usize,
        /// Which model sets the limit.
        what: String,
    },
    /// A text to score that is longer than the context.
    #[error("the text has {got} tokens, but the context of {what} holds {limit}; score it in pieces")]
    TextTooLong {
        /// Tokens in the text.
        got: usize,
        /// Positions that the model offers.
        limit: usize,
        /// Which model sets the limit.
        what: String,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} at position {position} is outside the vocabulary of {size} ids")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its position.
        position: usize,
        /// Size of the vocabulary.
        size: usize,
    },
    /// A setting outside its range.
    #[error("`{name}` is {got}, expected {expected}")]
    InvalidSetting {
        /// Name of the setting.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The given value.
        got: String,
    },
    /// The model produced no finite logit to choose from.
    #[error(
        "no token can be sampled: every allowed logit is NaN or minus infinity at step {step}; check the weights and alpha"
    )]
    NoFiniteLogit {
        /// Index of the new token.
        step: usize,
    },
}
