//! The post-processor that puts tokens around a text.

use serde_json::{Map, Value, json};

/// A `TemplateProcessing` of a `tokenizer.json` with a token before and after each text, or null without either. Each token is its name
/// and id; `type_ids` are the types of the first and the second text of a pair.
pub(super) fn tokens_around(
    before: Option<(String, u32)>,
    after: Option<(String, u32)>,
    type_ids: [u32; 2],
) -> Value {
    let around = |sequence: &str, type_id: u32| -> Vec<Value> {
        let special = |token: &Option<(String, u32)>| {
            token.as_ref().map(|(name, _)| json!({"SpecialToken": {"id": name, "type_id": type_id}}))
        };
        let text = json!({"Sequence": {"id": sequence, "type_id": type_id}});
        special(&before).into_iter().chain([text]).chain(special(&after)).collect()
    };
    let tokens: Map<String, Value> = [&before, &after]
        .into_iter()
        .flatten()
        .map(|(name, id)| (name.clone(), json!({"id": name, "ids": [id], "tokens": [name]})))
        .collect();
    if tokens.is_empty() {
        return Value::Null;
    }
    let single = around("A", type_ids[0]);
    let pair: Vec<Value> = single.iter().cloned().chain(around("B", type_ids[1])).collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
}
