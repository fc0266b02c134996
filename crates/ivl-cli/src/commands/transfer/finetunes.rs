//! What the value is compared with: every base after a fine-tuning of its own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl_models::Connection;
use ivl_train::{Init, TrainConfig};

use super::base::short_names;
use crate::args::{Common, Train};
use crate::commands::train::{fit, is_result_of, read_config};

/// Fine-tuned models of every base, one a seed.
#[derive(Debug, Default)]
pub struct Finetunes {
    by_base: Vec<Vec<String>>,
}

impl Finetunes {
    /// Models in the order of the bases, the same number for each.
    pub fn given(names: &[String], bases: usize) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        if !names.len().is_multiple_of(bases) {
            bail!(
                "--full-finetunes names {} models for {bases} bases, expected one for each, in their order, or as many \
                 seeds for each",
                names.len()
            );
        }
        Ok(Self { by_base: names.chunks(names.len() / bases).map(<[String]>::to_vec).collect() })
    }

    /// Trains what is not there yet: the configuration's demonstrations, steps and optimizer, on every base by itself.
    pub fn trained(
        config: &Path,
        bases: &[String],
        seeds: &[u64],
        out: &Path,
        common: &Common,
    ) -> Result<Self> {
        let read = Train { config: config.to_owned(), set: Vec::new(), resume: false };
        let recipe = read_config(&read, common)?;
        let seeds = if seeds.is_empty() { vec![recipe.seed] } else { seeds.to_vec() };
        let mut by_base = Vec::with_capacity(bases.len());
        for (base, short) in bases.iter().zip(short_names(bases)) {
            let mut models = Vec::with_capacity(seeds.len());
            for &seed in &seeds {
                let name = format!("{}-{seed}", short.replace(['/', '\\', ':', '@'], "-"));
                let config = alone(&recipe, base, seed, &out.join("full").join(name));
                if !common.quiet {
                    eprintln!("fine-tuning {short} by itself, seed {seed}");
                }
                train(&config, common).with_context(|| format!("fine-tuning `{base}`"))?;
                models.push(config.output.display().to_string());
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
fn alone(recipe: &TrainConfig, base: &str, seed: u64, output: &Path) -> TrainConfig {
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

/// Trains, goes on with what was stopped, or finds what an earlier call has made.
fn train(config: &TrainConfig, common: &Common) -> Result<()> {
    if config.output.join("config.json").exists() {
        if is_result_of(config) {
            return Ok(());
        }
        bail!(
            "`{}` holds a model that was trained by another configuration; remove it, or choose another --out",
            config.output.display()
        );
    }
    let resume = config.output.join("checkpoints").is_dir();
    fit(config, resume, "run the same command again to go on", common).map(drop)
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
