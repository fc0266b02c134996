//! Explanations as JSON.

use ivl_core::{CausalLm, Conflict, Explained, Vocab};
use ivl_eval::{Disagreement, Effect, Influence};
use serde_json::{Value, json};

use super::Explanation;
use crate::compose::{Attached, Composed};

/// A text: its tokens, as `/v1/explain` of the server has them and with each value's own part, and the means.
pub fn json(explanation: &Explanation, composed: &Composed) -> Value {
    let Explanation { passage, tokens } = explanation;
    let vocab = composed.lm.vocab();
    let tokens: Vec<Value> = passage
        .ids
        .iter()
        .zip(tokens)
        .map(|(&id, explained)| token(vocab, id, explained.as_ref(), &composed.attached))
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

fn token(vocab: &Vocab, id: u32, explained: Option<&Explained>, attached: &[Attached]) -> Value {
    let change = explained.map(|explained| explained.change);
    let mut object = ivl_serve::change_json(vocab, id, explained.map(|explained| explained.logprob), change);
    let Some(explained) = explained else { return object };
    object["base_entropy"] = explained.base.entropy.into();
    object["base_margin"] = explained.base.margin.into();
    if attached.len() > 1 {
        let own = attached.iter().zip(&explained.values);
        object["values"] = own
            .map(|(value, own)| {
                json!({"name": value.name, "delta": own.delta, "rank_without": own.base_rank, "flip": own.flip, "kl": own.kl})
            })
            .collect();
        let pairs = (0..attached.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        object["conflicts"] = pairs
            .zip(&explained.conflicts)
            .map(|((first, second), Conflict { cosine, favourites_differ, choices_differ })| {
                json!({
                    "values": [attached[first].name, attached[second].name], "cosine": cosine,
                    "favourites_differ": favourites_differ, "choices_differ": choices_differ,
                })
            })
            .collect();
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
