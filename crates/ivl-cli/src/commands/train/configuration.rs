//! One run's configuration: the TOML, what the command line replaces, and every default filled in.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl_train::TrainConfig;

use crate::args::{Common, Train};

/// Name of the resolved configuration in the output directory.
const RESOLVED: &str = "train.toml";

/// The TOML with `--set` and `--seed` applied.
pub fn read_config(args: &Train, common: &Common) -> Result<TrainConfig> {
    let path = args.config.display();
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("cannot read `{path}`"))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("`{path}` is not TOML"))?;
    for set in &args.set {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set is `{set}`, expected KEY=VALUE, such as optimizer.learning_rate=1e-3");
        };
        let value =
            format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut parsed| parsed.remove("x"));
        let text = || toml::Value::String(set.split_once('=').map_or("", |(_, value)| value).to_owned());
        insert(&mut table, key.trim(), value.unwrap_or_else(text))?;
    }
    if let Some(seed) = common.seed {
        table.insert("seed".to_owned(), toml::Value::Integer(seed as i64));
    }
    let config =
        TrainConfig::read(table).with_context(|| format!("`{path}` is not a training configuration"))?;
    config.validate()?;
    Ok(config)
}

fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let entry = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(inner) = entry.as_table_mut() else { bail!("--set {key}: `{part}` is not a table") };
        table = inner;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// Whether a directory was made by this very configuration.
pub fn is_result_of(config: &TrainConfig) -> bool {
    let saved = std::fs::read_to_string(config.output.join(RESOLVED));
    saved.is_ok_and(|saved| toml::to_string_pretty(config).is_ok_and(|text| text == saved))
}

/// Saves the configuration with every default filled in: running it again gives the same losses.
pub fn save_resolved(config: &TrainConfig, output: &Path) -> Result<()> {
    let text = toml::to_string_pretty(config).context("the configuration has no TOML")?;
    Ok(ivl_models::write_bytes(&output.join(RESOLVED), text.as_bytes())?)
}
