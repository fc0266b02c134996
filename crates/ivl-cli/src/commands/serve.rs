//! `ivl serve`: an OpenAI-compatible server and a chat page.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ivl_core::{CausalLm, FusedLm, Value, VocabMap};
use ivl_models::{ChatTemplate, Checkpoint};
use ivl_serve::{Catalog, OwnTokens, ServedValue, Server, Settings};
use serde_json::json;

use crate::args::{Common, Serve};
use crate::compose::{NamedValue, Shared, load_lm, load_value, value_option};
use crate::device::{device, dtype};
use crate::draft::speculation;
use crate::hub::resolve;
use crate::other_vocabulary::Crossing;

pub fn run(args: &Serve, common: &Common) -> Result<()> {
    let settings = settings(args);
    // What can be refused is refused before the first weight is read.
    settings.validate()?;
    let (lm, catalog) = load(args, common)?;
    let speculation = speculation(&args.drafts, &lm, common)?;
    let models: Vec<String> = std::iter::once(catalog.base())
        .chain(catalog.values().iter().map(|value| value.id.as_str()))
        .map(str::to_owned)
        .collect();
    let server = Server::bind(lm, speculation, catalog, settings)?;
    let address = format!("http://{}", server.address());
    if common.json {
        println!("{}", json!({"address": address, "models": models}));
    } else if !common.quiet {
        eprintln!("{} at {address} (chat page) and {address}/v1 (API)", models.join(", "));
    }
    server.run_until_signalled()?;
    Ok(())
}

fn settings(args: &Serve) -> Settings {
    Settings {
        host: args.host,
        port: args.port,
        api_keys: args.api_key.iter().filter(|key| !key.is_empty()).cloned().collect(),
        open: args.open,
        max_rows: args.max_rows,
        max_queue: args.max_queue,
        max_tokens: args.max_tokens,
        cache_bytes: args.cache_mib.saturating_mul(1 << 20),
        prefix_bytes: args.prefix_cache_mib.saturating_mul(1 << 20),
        drain_timeout: Duration::from_secs(args.drain_seconds),
        ..Settings::default()
    }
}

fn load(args: &Serve, common: &Common) -> Result<(FusedLm, Catalog)> {
    let device = device(common)?;
    let base_dir = resolve(&args.base)?;
    let maps = Crossing::maps(&args.map)?;
    // Every name is looked up before the first weight is read.
    let values: Vec<(String, NamedValue)> =
        args.value.iter().map(|value| served_value(value)).collect::<Result<_>>()?;
    let checkpoint = Checkpoint::open(&base_dir)?;
    let (base, tokenizer) = load_lm(&checkpoint, &device, dtype(common), common)?;
    let end_tokens = checkpoint.end_tokens(&tokenizer)?;
    let shared = Shared { dir: &base_dir, net: base.net().clone() };
    let (mut parts, mut served) = (Vec::new(), Vec::new());
    for (id, NamedValue { dir, alpha, .. }) in values {
        let (value, reader) = load_value(&dir, &shared, &device, common)?;
        let template = ChatTemplate::from_dir(&dir)?;
        let (part, own_tokens) = match VocabMap::same_ids(base.vocab(), value.vocab()) {
            Ok(_) => (Value::new(Box::new(value), alpha), None),
            Err(refusal) => {
                let own = OwnTokens { tokenizer: reader.clone(), max_positions: value.max_positions() };
                (maps.value(base.vocab(), (value, reader, alpha), refusal)?, Some(own))
            }
        };
        parts.push(part);
        served.push(ServedValue { id, alpha, template, own_tokens });
    }
    let lm = FusedLm::new(Box::new(base), parts)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => model_id(&args.base, &base_dir)?,
    };
    let template = ChatTemplate::from_dir(&base_dir)?;
    let catalog =
        Catalog::new(name, template, served, tokenizer, end_tokens, &lm.vocab().clone(), lm.max_positions())?;
    Ok((lm, catalog))
}

/// `[ID=]VALUE[:ALPHA]`. A path that exists as it stands wins over the reading with a name.
fn served_value(text: &str) -> Result<(String, NamedValue)> {
    let named = text.split_once('=').filter(|_| !Path::new(text).exists());
    let (id, rest) = named.map_or((None, text), |(id, rest)| (Some(id), rest));
    let value = value_option(rest)?;
    if value.connection.cascade_input().is_some() {
        // Its input is the base's prediction under one fixed weight; requests choose weights.
        anyhow::bail!(
            "`{rest}` is a cascade value, and only residual values can be served; use `ivl generate`"
        );
    }
    let id = match id {
        Some("") => anyhow::bail!("--value is `{text}`, expected a name before `=`"),
        Some(id) => id.to_owned(),
        None => model_id(rest, &value.dir)?,
    };
    Ok((id, value))
}

/// A hub name as it is; of a directory, its own name.
fn model_id(given: &str, dir: &Path) -> Result<String> {
    if !Path::new(given).exists() && !given.contains(':') {
        return Ok(given.to_owned());
    }
    let dir = dir.canonicalize().with_context(|| format!("cannot find `{}`", dir.display()))?;
    let name = dir.file_name().with_context(|| format!("`{}` has no name; give one", dir.display()))?;
    Ok(name.to_string_lossy().into_owned())
}
