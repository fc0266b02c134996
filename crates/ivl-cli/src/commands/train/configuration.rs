//! One run's configuration: the TOML, and what the command line replaces in it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl::TrainConfig;

use crate::args::Common;

/// The TOML with `--set` and `--seed` applied.
pub fn read_config(path: &Path, sets: &[String], common: &Common) -> Result<TrainConfig> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    let table: toml::Table = text.parse().with_context(|| format!("`{shown}` is not TOML"))?;
    let table = with_sets(table, sets, common)?;
    let config =
        TrainConfig::read(table).with_context(|| format!("`{shown}` is not a training configuration"))?;
    config.validate()?;
    Ok(config)
}

/// A configuration with `--set` and `--seed` applied.
pub fn with_sets(mut table: toml::Table, sets: &[String], common: &Common) -> Result<toml::Table> {
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set is `{set}`, expected KEY=VALUE, such as optimizer.learning_rate=1e-3");
        };
        let parsed =
            format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut parsed| parsed.remove("x"));
        insert(&mut table, key.trim(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())))?;
    }
    if let Some(seed) = common.seed {
        table.insert("seed".to_owned(), toml::Value::Integer(seed as i64));
    }
    Ok(table)
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
