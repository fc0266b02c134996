//! `ivl serve`: an OpenAI-compatible server and a chat page.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ivl_core::CausalLm;
use ivl_core::fusion::BaseLm;
use ivl_models::ChatTemplate;
use ivl_serve::{Catalog, Error, ServedBase, ServedValue, Server, Settings};
use serde_json::json;

use crate::args::{Common, Serve};
use crate::compose::{Attached, Composed, NamedValue, value_option};
use crate::draft::speculation;
use crate::other_vocabulary::Reads;

pub fn run(args: &Serve, common: &Common) -> Result<()> {
    let settings = settings(args);
    // What can be refused is refused before the first weight is read.
    settings.validate().map_err(with_hint)?;
    let (lm, catalog) = load(args, common)?;
    let speculation = speculation(&args.drafts, lm.vocab(), common)?;
    let models: Vec<String> = std::iter::once(catalog.base())
        .chain(catalog.values().iter().map(|value| value.id.as_str()))
        .map(str::to_owned)
        .collect();
    let server = Server::bind(lm, speculation, catalog, settings).map_err(with_hint)?;
    let address = format!("http://{}", server.address());
    if common.json {
        println!("{}", json!({"address": address, "models": models}));
    } else if !common.quiet {
        eprintln!("{} at {address} (chat page) and {address}/v1 (API)", models.join(", "));
    }
    server.run_until_signalled()?;
    Ok(())
}

/// An error of the server with the option that helps.
fn with_hint(error: Error) -> anyhow::Error {
    let hint = match &error {
        Error::Open { .. } => "give --api-key, or --open to allow requests without a key",
        Error::Listen { .. } => "choose another port with --port",
        Error::SameId { .. } => "name values with --value NAME=VALUE",
        _ => return error.into(),
    };
    let message = format!("{error}; {hint}");
    match error {
        Error::Listen { source, .. } => anyhow::Error::from(source).context(message),
        _ => anyhow::Error::msg(message),
    }
}

fn settings(args: &Serve) -> Settings {
    let mut settings = Settings::default();
    settings.host = args.host;
    settings.port = args.port;
    settings.api_keys = args.api_key.iter().filter(|key| !key.is_empty()).cloned().collect();
    settings.open = args.open;
    settings.max_rows = args.max_rows;
    settings.max_queue = args.max_queue;
    settings.max_tokens = args.max_tokens;
    settings.cache_bytes = args.cache_mib.saturating_mul(1 << 20);
    settings.prefix_bytes = args.prefix_cache_mib.saturating_mul(1 << 20);
    settings.drain_timeout = Duration::from_secs(args.drain_seconds);
    settings
}

fn load(args: &Serve, common: &Common) -> Result<(BaseLm, Catalog)> {
    let values = args.value.iter().map(|value| served_value(value)).collect::<Result<_>>()?;
    let composed = Composed::of((&args.base, values), &args.vocabularies, None, common)?;
    let served = |Attached { name, alpha, dir, reads }: Attached| {
        let cross_tokenizer = reads.as_ref().map(Reads::cross_tokenizer);
        Ok(ServedValue {
            id: name,
            alpha,
            template: ChatTemplate::from_dir(&dir)?,
            end_tokens: Vec::new(),
            cross_tokenizer,
        })
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => model_id(&args.base, composed.base_dir())?,
    };
    let template = ChatTemplate::from_dir(composed.base_dir())?;
    let Composed { lm, tokenizer, end_tokens, attached, .. } = composed;
    let lm = lm.into_rows()?;
    let values = attached.into_iter().map(served).collect::<Result<_>>()?;
    let base = ServedBase { id: name, tokenizer, template, end_tokens };
    let catalog = Catalog::new(base, values, lm.vocab(), lm.max_positions()).map_err(with_hint)?;
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
