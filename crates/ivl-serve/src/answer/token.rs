//! Tokens in answers.

use ivl_core::{Change, TokenKind, Vocab};
use serde_json::{Map, Value, json};

use crate::engine::Scored;

/// The bytes of a token: of its text, or of its name if it is a control token.
fn bytes(vocab: &Vocab, id: u32) -> &[u8] {
    vocab.token(id).map_or(&[], |token| &token.bytes)
}

/// A token as a string. Bytes that are no characters are written `bytes:\xNN`, so that two tokens never look alike.
pub(crate) fn readable(vocab: &Vocab, id: u32) -> String {
    let bytes = bytes(vocab, id);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |all, byte| all + &format!("\\x{byte:02x}")),
    }
}

/// A log-probability as JSON, which has no infinity.
pub(crate) fn number(logprob: f32) -> Value {
    json!(if logprob.is_finite() { logprob } else { -9999.0 })
}

/// `{token: logprob}` of the most probable tokens and of the one that stands there.
pub(crate) fn dictionary(vocab: &Vocab, scored: &Scored) -> Value {
    let Some(logprob) = scored.logprob else { return Value::Null };
    let mut map = Map::new();
    for &(id, logprob) in scored.top.iter().chain([&(scored.id, logprob)]) {
        // Of two ids with one name the more probable counts; the list begins with it.
        map.entry(readable(vocab, id)).or_insert_with(|| number(logprob));
    }
    Value::Object(map)
}

/// A token of a chat, with its alternatives.
pub(crate) fn entry(vocab: &Vocab, scored: &Scored) -> Value {
    let one = |id: u32, logprob: f32| json!({"token": readable(vocab, id), "logprob": number(logprob), "bytes": bytes(vocab, id)});
    let mut entry = one(scored.id, scored.logprob.unwrap_or(0.0));
    entry["top_logprobs"] = scored.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
    entry
}

/// What values changed at a token, as `/v1/explain` tells it: `id`, `token`, `control`, and where something precedes the
/// token `logprob`, `delta`, `rank_before`, `rank_after`, `base_top`, `flip` and `kl`. See [`Change`] for what they are;
/// minus infinity is -9999.
pub fn change_json(vocab: &Vocab, id: u32, logprob: Option<f32>, change: Option<Change>) -> Value {
    let control = vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control);
    let mut object = json!({"id": id, "token": readable(vocab, id), "control": control});
    if let (Some(map), Some(Change { delta, base_rank, rank, base_top, flip, kl })) =
        (object.as_object_mut(), change)
    {
        map.insert("logprob".to_owned(), logprob.map_or(Value::Null, number));
        map.insert("delta".to_owned(), number(delta));
        map.insert("rank_before".to_owned(), base_rank.into());
        map.insert("rank_after".to_owned(), rank.into());
        map.insert("base_top".to_owned(), readable(vocab, base_top).into());
        map.insert("flip".to_owned(), flip.into());
        map.insert("kl".to_owned(), number(kl));
    }
    object
}

/// What the values changed at a token of an answer.
pub(crate) fn change(vocab: &Vocab, scored: &Scored) -> Value {
    change_json(vocab, scored.id, scored.logprob, scored.change)
}
