//! `vocab.json` and `merges.txt`: merges of bytes.

use std::path::Path;

use tokenizers::models::bpe::BPE;

use crate::tokenizer::error::{TokenizerError, check_size};

/// The words of Qwen2.
pub(super) const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The tokenizer of a vocabulary and its merges, without any other stage.
///
/// # Errors
/// [`TokenizerError::File`] and [`TokenizerError::Invalid`].
pub(super) fn read(vocab: &Path, merges: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    for path in [vocab, merges] {
        check_size(path)?;
    }
    let names = [vocab, merges].map(|path| path.to_string_lossy().into_owned());
    let model = BPE::from_file(&names[0], &names[1]).build();
    let model = model.map_err(|source| TokenizerError::Invalid { path: vocab.to_owned(), source })?;
    Ok(tokenizers::Tokenizer::new(model))
}
