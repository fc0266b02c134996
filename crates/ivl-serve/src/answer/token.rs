//! Tokens in answers.

use ivl_core::Vocab;
use ivl_core::score::{DistributionChange, TokenExplanation, ValueConflict};
use ivl_core::vocab::TokenKind;
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

/// `{token: logprob}` of the most probable tokens and of the actual token.
pub(crate) fn dictionary(vocab: &Vocab, scored: &Scored) -> Value {
    let Some(logprob) = scored.logprob else { return Value::Null };
    let mut map = Map::new();
    for &(id, logprob) in scored.top.iter().chain([&(scored.id, logprob)]) {
        // Of two ids with one name the more probable counts; the list begins with it.
        map.entry(readable(vocab, id)).or_insert_with(|| number(logprob));
    }
    Value::Object(map)
}

/// `prompt_logprobs`, as vLLM writes them: for each token of the prompt the `count` most probable ones and the one that
/// stands there, by id. The entry of the first is null.
pub(crate) fn prompt_logprobs(vocab: &Vocab, tokens: &[Scored], count: usize) -> Value {
    let entry = |id: u32, logprob: f32, rank: usize| json!({"logprob": number(logprob), "rank": rank, "decoded_token": readable(vocab, id)});
    let of = |scored: &Scored| {
        let Some(logprob) = scored.logprob else { return Value::Null };
        let mut map = Map::new();
        for (rank, &(id, logprob)) in scored.top.iter().take(count).enumerate() {
            map.insert(id.to_string(), entry(id, logprob, rank + 1));
        }
        map.entry(scored.id.to_string())
            .or_insert_with(|| entry(scored.id, logprob, scored.rank.unwrap_or(1)));
        Value::Object(map)
    };
    tokens.iter().map(of).collect()
}

/// A token of a chat, with its alternatives.
pub(crate) fn entry(vocab: &Vocab, scored: &Scored) -> Value {
    let one = |id: u32, logprob: f32| json!({"token": readable(vocab, id), "logprob": number(logprob), "bytes": bytes(vocab, id)});
    let mut entry = one(scored.id, scored.logprob.unwrap_or(0.0));
    entry["top_logprobs"] = scored.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
    entry
}

/// Effect of values on a token, as `/v1/explain` reports it: `id`, `token`, `control`, and where something precedes the token
/// `logprob`, `delta`, `rank_before`, `rank_after`, `base_top`, `flip`, `kl`, `base_entropy` and `base_margin`; of several
/// values, by `names`, also `values` and `conflicts`. `docs/explain.md` says what they are; minus infinity is -9999.
pub fn explained_json(vocab: &Vocab, id: u32, explained: Option<&TokenExplanation>, names: &[&str]) -> Value {
    let control = vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control);
    let mut object = json!({"id": id, "token": readable(vocab, id), "control": control});
    let Some(TokenExplanation { logprob, change, base, values, conflicts }) = explained else {
        return object;
    };
    let DistributionChange { delta, base_rank, rank, base_top, flip, kl } = *change;
    object["logprob"] = number(*logprob);
    object["delta"] = number(delta);
    object["rank_before"] = base_rank.into();
    object["rank_after"] = rank.into();
    object["base_top"] = readable(vocab, base_top).into();
    object["flip"] = flip.into();
    object["kl"] = number(kl);
    object["base_entropy"] = base.entropy.into();
    object["base_margin"] = base.margin.into();
    if names.len() > 1 {
        let own = |(name, own): (&&str, &DistributionChange)| {
            json!({
                "name": name, "delta": number(own.delta), "rank_without": own.base_rank, "flip": own.flip,
                "kl": number(own.kl),
            })
        };
        object["values"] = names.iter().zip(values).map(own).collect();
        let pairs = (0..names.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let conflict = |((first, second), conflict): ((usize, usize), &ValueConflict)| {
            let ValueConflict { cosine, favourites_differ, choices_differ } = conflict;
            json!({
                "values": [names[first], names[second]], "cosine": cosine,
                "favourites_differ": favourites_differ, "choices_differ": choices_differ,
            })
        };
        object["conflicts"] = pairs.zip(conflicts).map(conflict).collect();
    }
    object
}

/// Effect of the values in use on a token of an answer.
pub(crate) fn explained(vocab: &Vocab, scored: &Scored, names: &[&str]) -> Value {
    explained_json(vocab, scored.id, scored.explained.as_ref(), names)
}
