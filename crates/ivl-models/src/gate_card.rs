//! The learned gate in a value's card.

use std::collections::BTreeMap;
use std::path::Path;

use ivl_core::fusion::LearnedGate;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::base_card::BaseCard;

/// The [`LearnedGate`] of a value, and how it was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateCard {
    /// The weight of each feature, by its name: one for each of [`LearnedGate::FEATURES`].
    pub weights: BTreeMap<String, f64>,
    /// The bias.
    pub bias: f64,
    /// The weight of the value at which it was fitted: it multiplies the gate.
    pub alpha: f64,
    /// The weight of `mean (g - 1)^2` in the objective.
    pub penalty: f64,
    /// The base that it was fitted on.
    pub base: BaseCard,
    /// SHA-256 of the demonstrations.
    pub data: String,
    /// The best constant in the place of the gate, on the rows that it was fitted on.
    pub constant: f64,
    /// Losses on the rows that it was fitted on.
    pub fitted: GateLosses,
    /// Losses on rows that it was not fitted on.
    pub held_out: GateLosses,
}

/// Mean losses of some rows, in nats per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateLosses {
    /// Number of rows.
    pub rows: usize,
    /// Number of tokens that have a loss.
    pub tokens: usize,
    /// Loss of the base without the value.
    pub alone: f64,
    /// Loss with the value, without a gate.
    pub ungated: f64,
    /// Loss with the value, multiplied by the best constant of the rows that the gate was fitted on.
    pub constant: f64,
    /// Loss with the value and the gate.
    pub gated: f64,
}

impl GateCard {
    /// The weights of a gate by the names of their features.
    pub fn named(gate: &LearnedGate) -> BTreeMap<String, f64> {
        LearnedGate::FEATURES.map(str::to_owned).into_iter().zip(*gate.weights()).collect()
    }

    /// The gate, from a card in the file `path`.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for a feature that does not exist, one without a weight, and a number that is not finite.
    pub(crate) fn gate(&self, path: &Path) -> Result<LearnedGate, Error> {
        let invalid = |field: &str, expected: String, got: String| Error::InvalidField {
            path: path.to_owned(),
            field: field.to_owned(),
            expected,
            got,
        };
        let known = || format!("a weight for each of {}", LearnedGate::FEATURES.join(", "));
        if let Some(name) = self.weights.keys().find(|name| !LearnedGate::FEATURES.contains(&name.as_str())) {
            let expected = format!("{}; take the gate out", known());
            return Err(invalid("gate.weights", expected, format!("one with a weight for `{name}`")));
        }
        let mut weights = [0.0; LearnedGate::FEATURES.len()];
        for (weight, name) in weights.iter_mut().zip(LearnedGate::FEATURES) {
            let found = self.weights.get(name);
            *weight =
                *found.ok_or_else(|| invalid("gate.weights", known(), format!("one without `{name}`")))?;
        }
        LearnedGate::new(weights, self.bias)
            .map_err(|_| invalid("gate", "finite numbers".to_owned(), "one with another number".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueCard;

    /// A card as a value of an earlier version of ivl has it.
    fn old_card() -> serde_json::Value {
        serde_json::json!({
            "format": 1, "connection": "residual", "bases": [], "tokenizer": "t", "regularization": {}, "alpha": 1.0,
            "chat_template": null, "data": "d", "rows": 1, "steps": 1, "tokens": 1, "evals": [], "train_loss": null,
            "ivl": "0.1.0",
        })
    }

    fn gate_card(gate: &LearnedGate) -> GateCard {
        let losses = GateLosses { rows: 3, tokens: 9, alone: 3.0, ungated: 1.0, constant: 0.9, gated: 0.5 };
        GateCard {
            weights: GateCard::named(gate),
            bias: gate.bias(),
            alpha: 1.0,
            penalty: 0.01,
            base: BaseCard { name: "b".to_owned(), config: "c".to_owned(), tokenizer: "t".to_owned() },
            data: "d".to_owned(),
            constant: 1.2,
            fitted: losses,
            held_out: GateLosses { rows: 1, ..losses },
        }
    }

    /// Writes a card, lets `change` edit it as JSON, and reads it.
    fn read(change: impl FnOnce(&mut serde_json::Value)) -> Result<Option<ValueCard>, String> {
        let gate = LearnedGate::new([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8], 0.9).expect("finite");
        let dir = tempfile::tempdir().expect("a directory");
        let mut card: ValueCard = serde_json::from_value(old_card()).expect("a card");
        card.set_gate(Some(gate_card(&gate)));
        card.write(dir.path()).expect("writes");
        let path = dir.path().join(ValueCard::FILE);
        let mut json = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
        change(&mut json);
        std::fs::write(&path, json.to_string()).expect("writes");
        let read = ValueCard::read(dir.path());
        read.map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        })
    }

    #[test]
    fn a_gate_is_read_as_it_was_written() {
        let card = read(|json| {
            assert_eq!(json["format"], 2, "earlier versions would ignore the gate");
            assert_eq!(json["gate"]["weights"]["value_rms"], -0.8);
        });
        let mut card = card.expect("reads").expect("a card");
        let gate = card.learned_gate("value".as_ref()).expect("valid").expect("a gate");
        assert_eq!((gate.weights()[0], gate.weights()[7], gate.bias()), (0.1, -0.8, 0.9));
        card.set_gate(None);
        assert_eq!((card.format, card.learned_gate("value".as_ref()).expect("valid")), (1, None));
    }

    #[test]
    fn old_cards_have_no_gate_and_later_formats_are_refused() {
        let card = read(|json| *json = old_card()).expect("reads").expect("a card");
        assert_eq!((card.format, card.gate), (1, None));
        let error = read(|json| json["format"] = 3.into()).expect_err("a later format");
        assert!(error.contains("is 3") && error.contains("later version"), "{error}");
    }

    #[test]
    fn gates_that_cannot_be_applied_are_refused() {
        let unknown = read(|json| json["gate"]["weights"]["mood"] = 1.0.into()).expect_err("unknown");
        assert!(unknown.contains("`mood`") && unknown.contains("take the gate out"), "{unknown}");
        let missing = read(|json| {
            json["gate"]["weights"].as_object_mut().expect("an object").remove("value_rms");
        });
        let missing = missing.expect_err("missing");
        assert!(missing.contains("without `value_rms`"), "{missing}");
        // JSON has no infinity: it is written as null.
        for (field, name) in [("bias", "bias"), ("weights", "value_rms")] {
            let error = read(|json| match field {
                "bias" => json["gate"][name] = serde_json::Value::Null,
                _ => json["gate"][field][name] = serde_json::Value::Null,
            });
            let error = error.expect_err("not a number");
            assert!(error.contains("null") && error.contains(ValueCard::FILE), "{error}");
        }
        let gate = LearnedGate::new([0.0; 8], 0.0).expect("finite");
        let card = GateCard { bias: f64::INFINITY, ..gate_card(&gate) };
        let error = card.gate("ivl.json".as_ref()).expect_err("not finite").to_string();
        assert!(error.contains("finite numbers"), "{error}");
    }
}
