//! Tokenizers in GGUF files: from the metadata to a tokenizer, and back.
//!
//! A GGUF file has no `tokenizer.json` but lists: tokens, their types, scores, merges, ids of special tokens, and in
//! `tokenizer.ggml.pre` a name for the rest, how texts are cut into words. [`GgufVocabulary`] is this, checked.

mod beside;
mod charsmap;
mod error;
mod merges;
mod pipeline;
mod pre_tokenizer;
mod read;
mod recognize;
mod special_ids;
mod split_patterns;
mod text_files;
mod token_type;
mod vocabulary;
mod write;

pub(crate) use beside::tokenizer_beside;
pub use error::GgufTokenizerError;
pub(crate) use text_files::GgufTextFiles;
pub(crate) use vocabulary::GgufVocabulary;
pub use write::GgufTexts;
