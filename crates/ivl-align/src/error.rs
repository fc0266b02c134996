//! The errors of this crate.

use crate::method::Method;

/// Errors of an alignment or a map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vocabulary without text.
    #[error(
        "the {which} vocabulary has no token of text, so there is nothing to align; check that its tokenizer.json is complete"
    )]
    NoText {
        /// `base` or `value`.
        which: &'static str,
    },
    /// A method that needs a corpus, without one.
    #[error(
        "method `{method}` needs token co-occurrence counts of a corpus, but there are no counts; count a corpus first"
    )]
    NoCorpus {
        /// The method.
        method: Method,
    },
    /// Two vocabularies that share nothing.
    #[error(
        "method `{method}` finds no value token for any of the {tokens} base tokens; try `prefix` or `hybrid`"
    )]
    NothingMapped {
        /// The method.
        method: Method,
        /// Tokens of the base.
        tokens: usize,
    },
    /// A map of vocabularies other than those at hand.
    #[error(transparent)]
    Map(#[from] ivl_core::Error),
    /// Bytes that are not a safetensors file.
    #[error(
        "not a vocabulary map: expected a safetensors file written by `ivl align`, got {got} bytes of another kind"
    )]
    NotSafetensors {
        /// Bytes of the file.
        got: usize,
        /// The reason.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A map file without something that every map has.
    #[error("not a vocabulary map: `{what}` is {got}, expected {expected}; make the map with `ivl align`")]
    Malformed {
        /// The part of the file.
        what: &'static str,
        /// The value in the file.
        got: String,
        /// The expected value.
        expected: String,
    },
}
