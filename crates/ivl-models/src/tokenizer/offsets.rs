//! Which bytes of a text each token covers.

use ivl_core::Vocab;
use serde_json::Value;

/// A token id and the bytes of the text, from and to, that it covers; control tokens cover none.
pub type Encoded = (u32, (usize, usize));

/// Whether a post-processor leaves the blanks around a token out of what the token covers.
pub(super) fn trims(post_processor: &[&Value]) -> bool {
    post_processor.iter().any(|part| {
        matches!(part["type"].as_str(), Some("ByteLevel" | "RobertaProcessing"))
            && part["trim_offsets"] != false
    })
}

/// The tokens of an encoding with all that they cover, also the blanks that the tokenizer trimmed off: a token that begins or ends
/// with blanks covers them where the text has its bytes next.
pub(super) fn untrimmed(text: &str, encoding: &tokenizers::Encoding, vocab: &Vocab) -> Vec<Encoded> {
    let mut at = 0;
    let mut encoded = Vec::with_capacity(encoding.len());
    for (&id, &(from, to)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
        let bytes = vocab.text_bytes(id);
        let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        // A space that the tokenizer put before the text is not in it.
        let own = if at == 0 && !rest.starts_with(bytes) {
            bytes.strip_prefix(b" ").unwrap_or(bytes)
        } else {
            bytes
        };
        let covered = if (is_blank(bytes.first()) || is_blank(bytes.last())) && rest.starts_with(own) {
            (at, at + own.len())
        } else {
            (from, to)
        };
        at = at.max(covered.1);
        encoded.push((id, covered));
    }
    encoded
}
