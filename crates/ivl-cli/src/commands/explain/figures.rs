//! Explanations as JSON.

use ivl::eval::explanation::{Disagreement, Influence, MeanChange};
use ivl::serve::explained_json;
use ivl::{AttachedValue, Explanation, Model};
use serde_json::{Value, json};

/// A text: its tokens, as `/v1/explain` of the server has them, and the means.
pub fn json(explanation: &Explanation, model: &Model) -> Value {
    let (vocab, values) = (model.vocab(), model.values());
    let names: Vec<&str> = values.iter().map(AttachedValue::name).collect();
    let explained = explanation.ids.iter().zip(&explanation.tokens);
    let tokens: Vec<Value> =
        explained.map(|(&id, explained)| explained_json(vocab, id, explained.as_ref(), &names)).collect();
    let mut object = json!({
        "values": values.iter().map(|value| json!({"name": value.name(), "alpha": value.alpha()})).collect::<Vec<_>>(),
        "tokens": tokens,
        "summary": summary(&Influence::of(&explanation.explained().collect::<Vec<_>>()), values),
    });
    if let Some(origin) = &explanation.origin {
        object["origin"] = origin.as_str().into();
    }
    object
}

/// Means over tokens.
pub fn summary(influence: &Influence, attached: &[AttachedValue]) -> Value {
    let effect =
        |MeanChange { delta, flips, kl }: &MeanChange| json!({"delta": delta, "flip_rate": flips, "kl": kl});
    let mut object = effect(&influence.all);
    object["tokens"] = influence.tokens.into();
    object["base_entropy"] = influence.base_entropy.into();
    if attached.len() > 1 {
        let own = attached.iter().zip(&influence.values);
        object["values"] = own
            .map(|(value, own)| {
                let mut object = effect(own);
                object["name"] = value.name().into();
                object
            })
            .collect();
        let conflict = |conflict: &Disagreement| {
            json!({
                "values": [attached[conflict.first].name(), attached[conflict.second].name()],
                "cosine": conflict.cosine, "favourites_differ": conflict.favourites_differ,
                "choices_differ": conflict.choices_differ,
            })
        };
        object["conflicts"] = influence.conflicts.iter().map(conflict).collect();
    }
    object
}
