//! Checks of a configuration, before anything is read: ranges of numbers, settings that exclude each other, settings that
//! need another.

use super::{Batching, Init, MixingStrategy, ObjectiveKind, PreferenceLoss, TrainConfig};
use crate::Error;

/// Largest rank of an adapter.
const LARGEST_RANK: usize = 4096;

impl TrainConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a number out of its range, [`Error::Conflict`] for settings that exclude each other,
    /// [`Error::MissingSetting`] for a setting that another one needs.
    pub fn validate(&self) -> Result<(), Error> {
        self.check_ranges()?;
        self.check_initial_scale()?;
        self.check_lora_ranges()?;
        self.check_conflicts()?;
        self.check_requirements()?;
        self.check_distill()?;
        self.check_dpo()?;
        self.data.validate()
    }

    fn check_ranges(&self) -> Result<(), Error> {
        let (o, r) = (&self.optimizer, &self.regularization);
        let not_negative = [
            ("optimizer.learning_rate", o.learning_rate.unwrap_or(0.0)),
            ("optimizer.weight_decay", o.weight_decay),
            ("optimizer.max_grad_norm", o.max_grad_norm),
            ("regularization.l1", r.l1),
            ("regularization.l2", r.l2),
            ("regularization.kl", r.kl),
            ("regularization.base_noise", r.base_noise),
            ("mixing.eta", self.mixing.eta),
            ("value.init_std", self.value.init_std),
            ("checkpoint.minutes", self.checkpoint.minutes),
            ("eval.min_improvement", self.eval.min_improvement),
        ];
        for (name, got) in not_negative {
            in_range(got.is_finite() && got >= 0.0, name, "0 or more", got)?;
        }
        let below_one = [
            ("optimizer.beta1", o.beta1),
            ("optimizer.beta2", o.beta2),
            ("regularization.base_dropout", r.base_dropout),
        ];
        for (name, got) in below_one {
            in_range((0.0..1.0).contains(&got), name, "0 to below 1", got)?;
        }
        in_range(o.epsilon > 0.0 && o.epsilon.is_finite(), "optimizer.epsilon", "above 0", o.epsilon)?;
        let shares =
            [("optimizer.warmup_ratio", o.warmup_ratio), ("regularization.base_fade_in", r.base_fade_in)];
        for (name, got) in shares {
            in_range((0.0..=1.0).contains(&got), name, "0 to 1", got)?;
        }
        let temperature = r.base_temperature;
        let hot = temperature.is_finite() && temperature >= 1.0;
        in_range(hot, "regularization.base_temperature", "1 or more", temperature)?;
        for base in &self.bases {
            in_range(base.weight > 0.0 && base.weight.is_finite(), "bases.weight", "above 0", base.weight)?;
        }
        let counts = [
            ("steps.epochs", self.steps.epochs),
            ("steps.batch_size", self.steps.batch_size),
            ("steps.accumulation", self.steps.accumulation),
            ("eval.batch_size", self.eval.batch_size),
            ("checkpoint.keep", self.checkpoint.keep),
        ];
        for (name, got) in counts {
            in_range(got >= 1, name, "1 or more", got as f64)?;
        }
        Ok(())
    }

    fn check_initial_scale(&self) -> Result<(), Error> {
        let Some(scale) = self.value.initial_scale else { return Ok(()) };
        in_range(scale > 0.0 && scale <= 1.0, "value.initial_scale", "above 0, at most 1", scale)?;
        let baseless = self.base.is_none() && self.bases.is_empty();
        let why = "only a value begins smaller than the network that it starts from: set `base` or `bases`";
        requires(baseless && scale != 1.0, "base", why)
    }

    fn check_lora_ranges(&self) -> Result<(), Error> {
        let Some(lora) = &self.value.lora else { return Ok(()) };
        let rank = 1..=LARGEST_RANK;
        in_range(rank.contains(&lora.rank), "value.lora.rank", "1 to 4096", lora.rank as f64)?;
        in_range(lora.alpha > 0.0 && lora.alpha.is_finite(), "value.lora.alpha", "above 0", lora.alpha)
    }

    fn check_distill(&self) -> Result<(), Error> {
        let distills = self.objective == ObjectiveKind::Distill;
        let Some(distill) = &self.distill else {
            return requires(distills, "distill.teacher", "`objective = \"distill\"` learns from a teacher");
        };
        requires(!distills, "objective", "`[distill]` is for `objective = \"distill\"`")?;
        let temperature = distill.temperature;
        let above_zero = temperature > 0.0 && temperature.is_finite();
        in_range(above_zero, "distill.temperature", "above 0", temperature)?;
        let weight = distill.cross_entropy;
        in_range(weight >= 0.0 && weight.is_finite(), "distill.cross_entropy", "0 or more", weight)?;
        for alpha in distill.values.iter().filter_map(|value| value.alpha) {
            in_range(alpha.is_finite(), "distill.values.alpha", "a finite number", alpha)?;
        }
        let mapped = self.bases.iter().any(|base| base.map.is_some());
        let teacher = "a teacher predicts the tokens of its own vocabulary, at its own positions";
        excludes(mapped, ["bases.map", "objective = \"distill\""], teacher)?;
        excludes(self.eval.map.is_some(), ["eval.map", "objective = \"distill\""], teacher)
    }

    fn check_dpo(&self) -> Result<(), Error> {
        let Some(dpo) = &self.dpo else { return Ok(()) };
        let other = self.objective != ObjectiveKind::Dpo;
        requires(other, "objective", "`[dpo]` is for `objective = \"dpo\"`")?;
        in_range(dpo.beta > 0.0 && dpo.beta.is_finite(), "dpo.beta", "above 0", dpo.beta)?;
        let smoothing = dpo.label_smoothing;
        in_range((0.0..0.5).contains(&smoothing), "dpo.label_smoothing", "0 to below 0.5", smoothing)?;
        excludes(
            smoothing > 0.0 && dpo.loss == PreferenceLoss::Ipo,
            ["dpo.label_smoothing", "dpo.loss = \"ipo\""],
            "its square does not take the label as a probability",
        )?;
        let baseless = self.base.is_none() && self.bases.is_empty();
        requires(
            baseless,
            "base",
            "the base is the reference of `objective = \"dpo\"`: set `base` or `bases`",
        )?;
        let mapped = "the log-probability of an answer is compared in the tokens of the value";
        let some_map = self.bases.iter().any(|base| base.map.is_some());
        excludes(some_map, ["bases.map", "objective = \"dpo\""], mapped)?;
        excludes(self.eval.map.is_some(), ["eval.map", "objective = \"dpo\""], mapped)?;
        excludes(
            self.data.batching == Batching::Packed,
            ["data.batching = \"packed\"", "objective = \"dpo\""],
            "both answers of a pair share a forward pass, each in a row of its own",
        )
    }

    fn check_conflicts(&self) -> Result<(), Error> {
        let is_cascade = self.value.connection.cascade_input().is_some();
        let cached = self.base_logits.is_some();
        let mapped = self.bases.iter().any(|base| base.map.is_some());
        let is_random = self.value.init == Init::Random;
        excludes(
            self.base.is_some() && !self.bases.is_empty(),
            ["base", "bases"],
            "each names the bases to train against",
        )?;
        excludes(
            cached && is_cascade,
            ["base_logits", "value.connection = \"cascade\""],
            "a cascade value reads the base at every position, and only the trained ones are kept on disk",
        )?;
        excludes(
            mapped && is_cascade,
            ["bases.map", "value.connection = \"cascade\""],
            "a cascade value reads predictions in its own vocabulary",
        )?;
        excludes(
            mapped && cached,
            ["bases.map", "base_logits"],
            "logits on disk are those of the value's own tokens",
        )?;
        excludes(
            self.value.lora.is_some() && is_random,
            ["value.lora", "value.init = \"random\""],
            "a random start has no weights to adapt",
        )?;
        excludes(
            !self.value.overrides.is_empty() && !is_random,
            ["value.overrides", "value.init = \"checkpoint\""],
            "the weights of a checkpoint fit no other configuration; set `value.init = \"random\"`",
        )
    }

    fn check_requirements(&self) -> Result<(), Error> {
        let baseless = self.base.is_none() && self.bases.is_empty();
        let is_cascade = self.value.connection.cascade_input().is_some();
        requires(
            baseless && self.value.model.is_none(),
            "value.model",
            "without a base to start from, it has to name a directory or hub model",
        )?;
        requires(baseless && is_cascade, "base", "a cascade value reads a base: set `base` or `bases`")?;
        let no_targets = self.value.lora.as_ref().is_some_and(|lora| lora.targets.is_empty());
        requires(no_targets, "value.lora.targets", "adapters need at least one projection")?;
        requires(
            self.mixing.strategy != MixingStrategy::Sample && self.bases.len() < 2,
            "bases",
            "`mixing.strategy` is about several of them",
        )?;
        self.check_evaluation()
    }

    /// Settings of evaluations need held-out data, and some of them more.
    fn check_evaluation(&self) -> Result<(), Error> {
        let patient = self.eval.patience > 0;
        requires(
            patient && self.data.eval.is_empty(),
            "data.eval",
            "`eval.patience` watches the held-out loss",
        )?;
        requires(
            patient && self.eval.every == 0,
            "eval.every",
            "`eval.patience` counts evaluations during training",
        )?;
        requires(
            !self.eval.bases.is_empty() && self.data.eval.is_empty(),
            "data.eval",
            "`eval.bases` are evaluated on held-out data",
        )?;
        let held_out = [
            (self.eval.every > 0, "`eval.every` evaluates on held-out data"),
            (self.eval.figure.is_some(), "`eval.figure` is a loss on held-out data"),
        ];
        for (given, reason) in held_out {
            requires(given && self.data.eval.is_empty(), "data.eval", reason)?;
        }
        requires(
            self.eval.map.is_some() && self.eval.bases.is_empty(),
            "eval.bases",
            "`eval.map` leads to bases with another vocabulary",
        )?;
        self.check_figure()
    }

    /// The figure must be the loss on a base that is evaluated.
    fn check_figure(&self) -> Result<(), Error> {
        let Some(figure) = &self.eval.figure else { return Ok(()) };
        let several = self.bases.iter().map(|base| &base.model);
        if self.base.iter().chain(several).chain(&self.eval.bases).any(|base| base == figure) {
            return Ok(());
        }
        Err(Error::InvalidSetting {
            name: "eval.figure",
            expected: "the name of a base or of one of `eval.bases`, as written there",
            got: format!("{figure:?}"),
        })
    }
}

fn in_range(ok: bool, name: &'static str, expected: &'static str, got: f64) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error::InvalidSetting { name, expected, got: got.to_string() }) }
}

fn excludes(both: bool, settings: [&'static str; 2], reason: &'static str) -> Result<(), Error> {
    if both { Err(Error::Conflict { settings, reason }) } else { Ok(()) }
}

fn requires(missing: bool, name: &'static str, reason: &'static str) -> Result<(), Error> {
    if missing { Err(Error::MissingSetting { name, reason }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(change: impl FnOnce(&mut Value)) -> String {
        let mut table = json!({ "output": "o", "base": "b", "value": {}, "data": { "train": ["a.jsonl"] } });
        change(&mut table);
        let config = TrainConfig::read(table).expect("reads");
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn settings_that_exclude_each_other_name_both_and_the_reason() {
        let cascade = |table: &mut Value| table["value"]["connection"] = json!("cascade");
        assert_eq!(
            message(|table| {
                cascade(table);
                table["base_logits"] = json!({ "dir": "d" });
            }),
            "`base_logits` cannot be combined with `value.connection = \"cascade\"`: a cascade value reads the base at \
             every position, and only the trained ones are kept on disk. Remove one"
        );
        assert_eq!(
            message(|table| table["bases"] = json!([{ "model": "a" }, { "model": "c" }])),
            "`base` cannot be combined with `bases`: each names the bases to train against. Remove one"
        );
        assert_eq!(
            message(|table| table["value"] = json!({ "lora": {}, "init": "random" })),
            "`value.lora` cannot be combined with `value.init = \"random\"`: a random start has no weights to adapt. \
             Remove one"
        );
        assert!(
            message(|table| {
                cascade(table);
                table["base"] = Value::Null;
                table["bases"] = json!([{ "model": "a", "map": "hybrid" }]);
            })
            .starts_with("`bases.map` cannot be combined with `value.connection = \"cascade\"`")
        );
        assert!(
            message(|table| table["value"]["overrides"] = json!({ "hidden_size": 8 }))
                .starts_with("`value.overrides` cannot be combined with `value.init = \"checkpoint\"`")
        );
    }

    #[test]
    fn a_teacher_belongs_to_one_objective() {
        assert_eq!(
            message(|table| table["objective"] = json!("distill")),
            "`distill.teacher` is not set: `objective = \"distill\"` learns from a teacher"
        );
        assert_eq!(
            message(|table| table["distill"] = json!({ "teacher": "t" })),
            "`objective` is not set: `[distill]` is for `objective = \"distill\"`"
        );
        let distilled = |table: &mut Value| {
            table["objective"] = json!("distill");
            table["distill"] = json!({ "teacher": "t" });
        };
        assert_eq!(
            message(|table| {
                distilled(table);
                table["distill"]["temperature"] = json!(0.0);
            }),
            "`distill.temperature` is 0, expected above 0"
        );
        assert!(
            message(|table| {
                distilled(table);
                table["base"] = Value::Null;
                table["bases"] = json!([{ "model": "a", "map": "hybrid" }]);
            })
            .starts_with("`bases.map` cannot be combined with `objective = \"distill\"`")
        );
    }

    #[test]
    fn preferences_need_a_base_that_reads_the_same_tokens() {
        let dpo = |table: &mut Value| table["objective"] = json!("dpo");
        let check = |change: fn(&mut Value), expected: &str| {
            let got = message(|table| {
                dpo(table);
                change(table);
            });
            assert_eq!(got, expected);
        };
        check(|table| table["dpo"] = json!({ "beta": 0.0 }), "`dpo.beta` is 0, expected above 0");
        check(
            |table| {
                table["base"] = Value::Null;
                table["value"] = json!({ "model": "m" });
            },
            "`base` is not set: the base is the reference of `objective = \"dpo\"`: set `base` or `bases`",
        );
        check(
            |table| table["data"]["batching"] = json!("packed"),
            "`data.batching = \"packed\"` cannot be combined with `objective = \"dpo\"`: both answers of a pair share a \
             forward pass, each in a row of its own. Remove one",
        );
        assert_eq!(
            message(|table| table["dpo"] = json!({})),
            "`objective` is not set: `[dpo]` is for `objective = \"dpo\"`"
        );
    }

    #[test]
    fn settings_that_need_another_name_it() {
        assert_eq!(
            message(|table| table["base"] = Value::Null),
            "`value.model` is not set: without a base to start from, it has to name a directory or hub model"
        );
        assert_eq!(
            message(|table| {
                table["base"] = Value::Null;
                table["value"] = json!({ "model": "m", "connection": "cascade" });
            }),
            "`base` is not set: a cascade value reads a base: set `base` or `bases`"
        );
        assert_eq!(
            message(|table| table["eval"]["patience"] = json!(1)),
            "`data.eval` is not set: `eval.patience` watches the held-out loss"
        );
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_the_range() {
        let check = |[section, key]: [&str; 2], got: Value, expected: &str| {
            assert_eq!(message(|table| table[section][key] = got), expected);
        };
        check(["optimizer", "beta1"], json!(1.0), "`optimizer.beta1` is 1, expected 0 to below 1");
        check(
            ["optimizer", "learning_rate"],
            json!(-1.0),
            "`optimizer.learning_rate` is -1, expected 0 or more",
        );
        check(["steps", "batch_size"], json!(0), "`steps.batch_size` is 0, expected 1 or more");
        check(["value", "lora"], json!({ "rank": 0 }), "`value.lora.rank` is 0, expected 1 to 4096");
        check(
            ["regularization", "base_temperature"],
            json!(0.5),
            "`regularization.base_temperature` is 0.5, expected 1 or more",
        );
    }
}
