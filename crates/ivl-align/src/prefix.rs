//! The longest shared first bytes.

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::ByteTrie;

/// The value token that shares the most first bytes with a base token: of several the shortest, then the one that its
/// tokenizer prefers.
///
/// A token that continues differently must not do so inside a character: two characters that share a byte have nothing else
/// in common. A value token that is itself the first bytes of the base token may end anywhere.
pub(crate) fn prefix(base: &Vocab, id: u32, trie: &ByteTrie) -> Option<u32> {
    let bytes = base.text_bytes(id);
    let (mut node, mut best) = (0..trie.len(), None);
    for (depth, &byte) in bytes.iter().enumerate() {
        node = trie.child(node, depth, byte);
        if node.is_empty() {
            break;
        }
        // The shared bytes themselves, as a token, come before all continuations.
        let is_token = trie.bytes(node.start).len() == depth + 1;
        let cuts_no_character = bytes.get(depth + 1).is_none_or(|next| !(0x80..0xc0).contains(next));
        if is_token {
            best = Some(node.start..node.start + 1);
        } else if cuts_no_character {
            best = Some(node.clone());
        }
    }
    let index = best?.min_by_key(|&index| trie.bytes(index).len())?;
    Some(trie.id(index))
}
