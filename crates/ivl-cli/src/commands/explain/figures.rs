//! Explanations as JSON.

use ivl_eval::{Disagreement, Effect, Influence};
use serde_json::{Value, json};

use super::Explanation;
use crate::compose::{Attached, Composed};

/// A text: its tokens, as `/v1/explain` of the server has them, and the means.
pub fn json(explanation: &Explanation, composed: &Composed) -> Value {
    let Explanation { passage, tokens } = explanation;
    let vocab = composed.lm.vocab();
    let names: Vec<&str> = composed.attached.iter().map(|value| value.name.as_str()).collect();
    let explained = passage.ids.iter().zip(tokens);
    let tokens: Vec<Value> = explained
        .map(|(&id, explained)| ivl_serve::explained_json(vocab, id, explained.as_ref(), &names))
        .collect();
    let mut object = json!({
        "values": composed.attached.iter().map(|value| json!({"name": value.name, "alpha": value.alpha})).collect::<Vec<_>>(),
        "tokens": tokens,
        "summary": summary(&explanation.influence(), &composed.attached),
    });
    if let Some(origin) = &passage.origin {
        object["origin"] = origin.as_str().into();
    }
    object
}

/// Means over tokens.
pub fn summary(influence: &Influence, attached: &[Attached]) -> Value {
    let effect = |Effect { delta, flips, kl }: &Effect| json!({"delta": delta, "flip_rate": flips, "kl": kl});
    let mut object = effect(&influence.all);
    object["tokens"] = influence.tokens.into();
    object["base_entropy"] = influence.base_entropy.into();
    if attached.len() > 1 {
        let own = attached.iter().zip(&influence.values);
        object["values"] = own
            .map(|(value, own)| {
                let mut object = effect(own);
                object["name"] = value.name.as_str().into();
                object
            })
            .collect();
        let conflict = |conflict: &Disagreement| {
            json!({
                "values": [attached[conflict.first].name, attached[conflict.second].name],
                "cosine": conflict.cosine, "favourites_differ": conflict.favourites_differ,
                "choices_differ": conflict.choices_differ,
            })
        };
        object["conflicts"] = influence.conflicts.iter().map(conflict).collect();
    }
    object
}
