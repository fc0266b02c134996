//! Named sets of defaults.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::ObjectiveKind;

/// The defaults of a run: settings that a configuration leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Those that did best in experiments, on the base that a value was trained on and on others
    /// (`docs/regularization.md`).
    #[default]
    Standard,
    /// Those of the paper: a learning rate of 1e-4, a norm penalty of 1, a value that starts as a whole copy, the base at every
    /// position from the first step.
    Paper,
}

impl Preset {
    /// Where a preset differs from the standard defaults: table, key, value.
    fn settings(self) -> &'static [(&'static str, &'static str, f64)] {
        match self {
            Self::Standard => &[],
            Self::Paper => &[
                ("optimizer", "learning_rate", 1e-4),
                ("optimizer", "warmup_ratio", 0.01),
                ("value", "initial_scale", 1.0),
                ("regularization", "l1", 1.0),
            ],
        }
    }

    /// Adds the settings of the preset that a configuration names to those that the configuration makes itself, and the table of
    /// its objective. A preset or an objective that does not exist is refused where the configuration is read.
    pub(crate) fn fill(table: &mut Value) {
        let preset = Self::deserialize(&table["preset"]).unwrap_or_default();
        let objective = ObjectiveKind::deserialize(&table["objective"]).unwrap_or_default();
        let Some(table) = table.as_object_mut() else { return };
        if objective == ObjectiveKind::Dpo {
            table.entry("dpo").or_insert_with(|| Value::Object(Map::new()));
        }
        for &(section, key, value) in preset.settings() {
            let section = table.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Some(section) = section.as_object_mut() {
                section.entry(key).or_insert_with(|| json!(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DpoConfig, TrainConfig};

    fn read(change: Value) -> TrainConfig {
        let mut table = json!({ "output": "o", "base": "b", "value": {}, "data": { "train": ["a.jsonl"] } });
        table.as_object_mut().expect("a table").extend(change.as_object().expect("a table").clone());
        TrainConfig::read(table).expect("reads")
    }

    #[test]
    fn the_paper_is_a_preset_that_single_settings_override() {
        let paper = read(json!({ "preset": "paper", "regularization": { "l1": 0.3 } }));
        assert_eq!((paper.preset, paper.optimizer.learning_rate), (Preset::Paper, Some(1e-4)));
        assert_eq!((paper.regularization.l1, paper.regularization.base_dropout), (0.3, 0.0));
        assert_eq!((paper.optimizer.warmup_ratio, paper.value.initial_scale), (0.01, Some(1.0)));
        let standard = read(json!({}));
        assert_eq!((standard.preset, standard.optimizer.learning_rate), (Preset::Standard, None));
        assert_eq!((standard.regularization.l1, standard.regularization.base_dropout), (0.0, 0.0));
    }

    #[test]
    fn preferences_have_a_loss() {
        let dpo = read(json!({ "objective": "dpo" }));
        assert_eq!((dpo.dpo, dpo.regularization.base_dropout), (Some(DpoConfig::default()), 0.0));
        let own = read(
            json!({ "objective": "dpo", "regularization": { "base_dropout": 0.2 }, "dpo": { "beta": 0.3 } }),
        );
        assert_eq!(own.dpo.map(|dpo| dpo.beta), Some(0.3));
        assert_eq!(own.regularization.base_dropout, 0.2);
        assert_eq!(read(json!({})).dpo, None);
    }

    #[test]
    fn a_resolved_configuration_is_its_own_result() {
        let paper = read(json!({ "preset": "paper", "optimizer": { "learning_rate": 2e-4 } }));
        let again = TrainConfig::read(serde_json::to_value(&paper).expect("serialises")).expect("reads");
        assert_eq!(again, paper);
    }

    #[test]
    fn an_unknown_preset_is_refused_by_name() {
        let table =
            json!({ "preset": "papers", "output": "o", "value": {}, "data": { "train": ["a.jsonl"] } });
        let message = TrainConfig::read(table).expect_err("refused").to_string();
        assert!(message.contains("preset"), "{message}");
    }
}
