//! `ivl serve`: an OpenAI-compatible server and a chat page.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ivl_core::CausalLm;
use ivl_core::fusion::BaseLm;
use ivl_models::ChatTemplate;
use ivl_serve::{Catalog, ServedValue, Server, Settings};
use serde_json::json;

use crate::args::{Common, Serve};
use crate::compose::{Attached, Composed, NamedValue, value_option};
use crate::draft::speculation;
use crate::other_vocabulary::Reads;

pub fn run(args: &Serve, common: &Common) -> Result<()> {
    let settings = settings(args);
    // What can be refused is refused before the first weight is read.
    settings.validate()?;
    let (lm, catalog) = load(args, common)?;
    let speculation = speculation(&args.drafts, lm.vocab(), common)?;
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

fn load(args: &Serve, common: &Common) -> Result<(BaseLm, Catalog)> {
    let values = args.value.iter().map(|value| served_value(value)).collect::<Result<_>>()?;
    let composed = Composed::of((&args.base, values), &args.vocabularies, None, common)?;
    let served = |Attached { name, alpha, dir, reads }: Attached| {
        let own_tokens = reads.as_ref().map(Reads::own_tokens);
        Ok(ServedValue { id: name, alpha, template: ChatTemplate::from_dir(&dir)?, own_tokens })
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => model_id(&args.base, composed.base_dir())?,
    };
    let template = ChatTemplate::from_dir(composed.base_dir())?;
    let Composed { lm, tokenizer, end_tokens, attached, .. } = composed;
    let lm = lm.into_rows()?;
    let values = attached.into_iter().map(served).collect::<Result<_>>()?;
    let (vocab, context) = (lm.vocab().clone(), lm.max_positions());
    let catalog = Catalog::new(name, template, values, tokenizer, end_tokens, &vocab, context)?;
    Ok((lm, catalog))
}

/// `[ID=]VALUE[:ALPHA]`. A path that exists as it stands wins over the reading with a name.
fn served_value(text: &str) -> Result<NamedValue> {
    let named = text.split_once('=').filter(|_| !Path::new(text).exists());
    let (id, rest) = named.map_or((None, text), |(id, rest)| (Some(id), rest));
    let value = value_option(rest)?;
    let name = match id {
        Some("") => anyhow::bail!("--value is `{text}`, expected a name before `=`"),
        Some(id) => id.to_owned(),
        None => model_id(rest, &value.dir)?,
    };
    Ok(NamedValue { name, ..value })
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
