//! Same bytes, same token.

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::ByteTrie;
use ivl_core::vocab::TokenKind;
use rayon::prelude::*;

/// For every base id of text, the value id with the same bytes. If there are several, a byte by its number meets a byte
/// by its number, and anything else what the value's tokenizer would write: text first, then lower ids.
pub(crate) fn exact(base: &Vocab, value: &Vocab, trie: &ByteTrie) -> Vec<Option<u32>> {
    let is_byte = |vocab: &Vocab, id: u32| vocab.token(id).is_some_and(|t| t.kind == TokenKind::Byte);
    let find = |id: u32| {
        let bytes = base.text_bytes(id);
        let first = trie.find(bytes).filter(|_| !bytes.is_empty())?;
        let same = (first..trie.len()).take_while(|&index| trie.bytes(index) == bytes);
        let wanted = is_byte(base, id);
        let best = same.into_iter().find(|&index| wanted && is_byte(value, trie.id(index)));
        Some(trie.id(best.unwrap_or(first)))
    };
    (0..base.size() as u32).into_par_iter().map(find).collect()
}
