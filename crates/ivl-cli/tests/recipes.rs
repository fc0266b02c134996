//! The recipes: each parses, and the model that it names has the shapes that the recipe counts on. `recipe_configs.json` has the
//! `config.json` of every base, without the fields that ivl does not read, and its number of parameters as published.

mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ivl_models::Checkpoint;
use ivl_train::{OptimizerConfig, TrainConfig};
use run::repository;
use serde_json::Value;

/// Every recipe by its name, parsed.
fn recipes() -> BTreeMap<String, TrainConfig> {
    let files = std::fs::read_dir(repository().join("recipes")).expect("recipes");
    let files = files.map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let name = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    files.map(|path| (name(&path), TrainConfig::from_file(&path).expect("a configuration"))).collect()
}

/// The model that a recipe names, without weights, and its number of parameters as published.
fn base(recipe: &TrainConfig) -> (Checkpoint, u64) {
    let configs: Value = serde_json::from_str(include_str!("recipe_configs.json")).expect("JSON");
    let name = recipe.base.as_deref().expect("a base");
    let published = &configs[name];
    assert!(published.is_object(), "recipe_configs.json does not have `{name}`");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("config.json"), published["config"].to_string()).expect("writes");
    let checkpoint = Checkpoint::open(dir.path()).expect("a known family");
    (checkpoint, published["parameters"].as_u64().expect("a number"))
}

#[test]
fn every_model_has_a_recipe_for_adapters_and_one_for_all_weights() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 12);
    for (name, recipe) in &recipes {
        let full = name.ends_with("-full");
        assert_eq!(recipe.value.lora.is_none(), full, "{name}");
        let twin = if full { name.trim_end_matches("-full").to_owned() } else { format!("{name}-full") };
        assert_eq!(recipes[&twin].base, recipe.base, "{name}");
        assert_eq!(recipe.output, PathBuf::from(format!("runs/{name}")));
    }
}

#[test]
fn bases_have_the_published_shapes() {
    for (name, recipe) in recipes() {
        let (checkpoint, published) = base(&recipe);
        assert_eq!(checkpoint.num_parameters(), published, "{name}");
        let config = checkpoint.config();
        assert!(recipe.data.max_length <= config.max_positions, "{name}");
        let smallest = config.hidden_size.min(config.vocab_size);
        assert!(recipe.value.lora.is_none_or(|lora| lora.rank < smallest), "{name}");
    }
}

#[test]
fn rates_are_the_defaults_of_their_sizes() {
    for (name, recipe) in recipes() {
        let (_, parameters) = base(&recipe);
        let adapters = recipe.value.lora.is_some();
        let default = OptimizerConfig::default_learning_rate(adapters, true, parameters as usize);
        let rate = recipe.optimizer.learning_rate.expect("recipes write it out");
        assert!((rate / default - 1.0).abs() < 0.02, "{name}: {rate}, the default is {default}");
    }
}
