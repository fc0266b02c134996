//! Full fine-tunings of the bases, for comparison with the value.

use std::path::Path;

use ivl_models::Connection;
use ivl_train::{Init, Interrupter, TrainConfig};

use super::base::short_names;
use super::events::{StudyEvent, StudyReporter};
use crate::error::{Error, Result};
use crate::open_options::OpenOptions;
use crate::training::{Training, is_result_of};

/// Fine-tuned models of every base, one a seed.
#[derive(Debug, Clone, Default)]
pub struct Finetunes {
    by_base: Vec<Vec<String>>,
}

/// How every base is fine-tuned.
#[derive(Clone)]
#[non_exhaustive]
pub struct FinetuneConfig {
    /// Demonstrations, steps and optimizer; its bases are ignored.
    pub recipe: TrainConfig,
    /// One fine-tuning of each base with each of these seeds; the configuration's seed if there are none.
    pub seeds: Vec<u64>,
    /// Device and type of the weights.
    pub options: OpenOptions,
    /// Stops the fine-tuning in progress, with a checkpoint.
    pub interrupter: Interrupter,
}

impl FinetuneConfig {
    /// Fine-tunings by the demonstrations, steps and optimizer of a recipe.
    pub fn new(recipe: TrainConfig) -> Self {
        Self { recipe, seeds: Vec::new(), options: OpenOptions::new(), interrupter: Interrupter::new() }
    }

    /// The seeds.
    #[must_use]
    pub fn seeds(mut self, seeds: Vec<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Device and type of the weights.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Stops the fine-tuning in progress, with a checkpoint.
    #[must_use]
    pub fn interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = interrupter;
        self
    }
}

impl Finetunes {
    /// Models in the order of the bases, the same number for each.
    ///
    /// # Errors
    /// [`Error::Settings`] if they cannot be shared out.
    pub fn given(names: &[String], bases: usize) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        if !names.len().is_multiple_of(bases) {
            let reason = format!(
                "there are {} models for {bases} bases, expected one per base in the order of the bases, or the same number of seeds for each",
                names.len()
            );
            return Err(Error::Settings { reason });
        }
        Ok(Self { by_base: names.chunks(names.len() / bases).map(<[String]>::to_vec).collect() })
    }

    /// Fine-tunes every base into `out/full`; finished ones of an earlier call are reused, and interrupted ones continue.
    ///
    /// # Errors
    /// As [`train`](fn@crate::train); [`Error::Settings`] for a directory of another configuration.
    pub fn train(
        bases: &[String],
        out: &Path,
        config: &FinetuneConfig,
        on_event: impl FnMut(StudyEvent),
    ) -> Result<Self> {
        let reporter = StudyReporter::new(on_event);
        let seeds = if config.seeds.is_empty() { vec![config.recipe.seed] } else { config.seeds.clone() };
        let mut by_base = Vec::with_capacity(bases.len());
        for (base, short) in bases.iter().zip(short_names(bases)) {
            let mut models = Vec::with_capacity(seeds.len());
            for &seed in &seeds {
                let name = format!("{}-{seed}", short.replace(['/', '\\', ':', '@'], "-"));
                let run = without_base(&config.recipe, base, seed, &out.join("full").join(name));
                let event_config = Box::new(run.clone());
                reporter.report(StudyEvent::FineTuning { base: short.clone(), seed, config: event_config });
                train_or_find(&run, config, &reporter).map_err(Error::base(base))?;
                models.push(run.output.display().to_string());
            }
            by_base.push(models);
        }
        Ok(Self { by_base })
    }

    /// The fine-tunings of one base.
    pub fn of(&self, base: usize) -> &[String] {
        self.by_base.get(base).map_or(&[], Vec::as_slice)
    }
}

/// The recipe of a value, for a model that is trained by itself.
fn without_base(recipe: &TrainConfig, base: &str, seed: u64, output: &Path) -> TrainConfig {
    let mut config = recipe.clone();
    (config.base, config.bases, config.base_logits) = (None, Vec::new(), None);
    config.value.model = Some(base.to_owned());
    config.value.connection = Connection::Residual;
    config.value.init = Init::Checkpoint;
    config.value.lora = None;
    config.value.overrides.clear();
    (config.eval.bases, config.eval.map, config.eval.figure) = (Vec::new(), None, None);
    config.seed = seed;
    config.data.cache = None;
    output.clone_into(&mut config.output);
    config
}

/// Trains, continues an interrupted run, or reuses a finished one.
fn train_or_find(run: &TrainConfig, config: &FinetuneConfig, reporter: &StudyReporter<'_>) -> Result<()> {
    if run.output.join("config.json").exists() {
        if is_result_of(run) {
            return Ok(());
        }
        let reason = format!(
            "`{}` holds a model that was trained by another configuration; remove it, or choose another directory",
            run.output.display()
        );
        return Err(Error::Settings { reason });
    }
    let resume = run.output.join("checkpoints").is_dir();
    let training = Training::new(run).resume(resume).options(config.options.without_places());
    let training = training.interrupter(config.interrupter.clone());
    training.run(move |event| reporter.report(StudyEvent::Training(event))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_shared_out_in_the_order_of_the_bases() {
        let names: Vec<String> = ["a1", "a2", "b1", "b2"].map(str::to_owned).to_vec();
        let full = Finetunes::given(&names, 2).expect("two each");
        assert_eq!((full.of(0), full.of(1)), (&names[..2], &names[2..]));
        let error = Finetunes::given(&names, 3).expect_err("4 for 3").to_string();
        assert!(error.contains("4 models for 3 bases"), "{error}");
        assert!(Finetunes::given(&[], 3).expect("none").of(2).is_empty());
    }
}
