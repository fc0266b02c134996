//! What can be wrong with the tokenizer of a GGUF file, and with one that is to be written into such a file.

/// Why the tokenizer of a GGUF file cannot be used. The path is in the error around it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufTokenizerError {
    /// Another kind of tokenizer.
    #[error(
        "`tokenizer.ggml.model` is `{got}`, expected llama, gpt2, gemma4 or t5; use the Hugging Face directory of the model, which \
         has a tokenizer.json"
    )]
    Model {
        /// The kind.
        got: String,
    },
    /// A way to cut texts that is not known.
    #[error(
        "`tokenizer.ggml.pre` is {got}, expected one of {known}; put the tokenizer.json of the model into the directory of the file"
    )]
    PreTokenizer {
        /// The name in the file.
        got: String,
        /// The names that are known.
        known: String,
    },
    /// Lists of different lengths.
    #[error("`{key}` has {got} elements, expected {expected}, one for each token; convert the model again")]
    Length {
        /// The key.
        key: &'static str,
        /// Its elements.
        got: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// More tokens than any model has.
    #[error("`tokenizer.ggml.tokens` has {got} tokens, expected from 1 to {limit}")]
    TokenCount {
        /// The tokens.
        got: usize,
        /// The bound.
        limit: u32,
    },
    /// A token that is longer than any.
    #[error(
        "token {id} has {got} bytes, expected at most {limit}; the file is broken: convert the model again"
    )]
    TokenLength {
        /// The id.
        id: usize,
        /// Its bytes.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// A number that is no type of token.
    #[error(
        "token {id} has type {got}, expected a number from 1 to 6; the file is broken: convert the model again"
    )]
    TokenType {
        /// The id.
        id: usize,
        /// The type.
        got: i64,
    },
    /// A score that is no number.
    #[error(
        "token {id} has the score {got}, expected a finite number; the file is broken: convert the model again"
    )]
    Score {
        /// The id.
        id: usize,
        /// The score.
        got: f32,
    },
    /// Two ids with one token.
    #[error(
        "tokens {first} and {second} are both {token:?}, expected every token once; convert the model again"
    )]
    DuplicateToken {
        /// The text.
        token: String,
        /// One id.
        first: u32,
        /// The other.
        second: u32,
    },
    /// An id of a special token that no token has.
    #[error("`{key}` is {got}, expected an id below {tokens}, the number of tokens; convert the model again")]
    SpecialId {
        /// The key.
        key: &'static str,
        /// The id.
        got: u32,
        /// The number of tokens.
        tokens: usize,
    },
    /// A flag that asks for a token that is not named.
    #[error(
        "`{flag}` is true, but the file has no `{key}`; expected the id of the token that is added; convert the model again"
    )]
    NothingToAdd {
        /// The flag.
        flag: &'static str,
        /// The id that is missing.
        key: &'static str,
    },
    /// Two tokens that cannot become one.
    #[error(
        "merge {index} is {merge:?}, expected two tokens with a space between, whose joined text is a token too; {missing:?} is none"
    )]
    Merge {
        /// Which one, from 0.
        index: usize,
        /// As it is in the file.
        merge: String,
        /// The text that is no token.
        missing: String,
    },
    /// A byte-level tokenizer without merges.
    #[error(
        "the file has no `tokenizer.ggml.merges`, expected those of a byte-level tokenizer; convert the model again"
    )]
    NoMerges,
    /// A table of normalization that is broken.
    #[error("`tokenizer.ggml.precompiled_charsmap` is broken: {reason}; convert the model again")]
    Charsmap {
        /// What is wrong.
        reason: &'static str,
    },
    /// The library for tokenizers does not take it.
    #[error("its parts make no tokenizer")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A tokenizer of a kind that the format does not have.
    #[error("{what} is {got}, expected {expected}; a GGUF file has no place for another")]
    Unwritable {
        /// Which stage.
        what: &'static str,
        /// How it is in the tokenizer.
        got: String,
        /// What can be written.
        expected: String,
    },
    /// Merges that no scores give.
    #[error(
        "{missing} pairs of its tokens make a token and are not merged, beside {merged} that are; expected all to be merged, as \
         SentencePiece does and readers of GGUF files do"
    )]
    Merges {
        /// Pairs that are not merged.
        missing: usize,
        /// Pairs that are.
        merged: usize,
    },
}
