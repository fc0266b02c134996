//! `ivl serve`: an OpenAI-compatible server and a chat page.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ivl::serve::Settings;
use ivl::{Model, resolve, served_name};
use serde_json::json;

use crate::args::{Common, Serve};
use crate::models::{
    attach, check_attach_options, drafts, note_idle_options, open_options, serve_options, value_and_alpha,
    with_template,
};
use crate::notes::note;
use crate::output::stdout;

pub fn run(args: &Serve, common: &Common) -> Result<()> {
    let settings = settings(args);
    // Every check that needs no weights comes before the first weight is read.
    settings.validate()?;
    let drafts = drafts(&args.drafts)?;
    let options = with_template(open_options(common), &args.template);
    check_attach_options(&args.attach, args.value.len())?;
    let mut builder = Model::builder(&args.base).options(options);
    let mut names = BTreeSet::new();
    for text in &args.value {
        let (name, value, alpha) = served_value(text)?;
        if !names.insert(name.clone()) {
            return Err(ivl::serve::Error::SameId { id: name }.into());
        }
        builder = builder.attach(value, attach(alpha, &args.attach).name(name));
    }
    if let Some(drafts) = &drafts {
        builder = builder.for_drafts(drafts.clone());
    }
    let model = builder.open()?;
    note_idle_options(&model, &args.attach, common);
    let name = match &args.name {
        Some(name) => name.clone(),
        None => served_name(&args.base, model.base_path())?,
    };
    let values = model.values().iter().map(|value| value.name().to_owned());
    let models: Vec<String> = std::iter::once(name.clone()).chain(values).collect();
    let server = model.into_server(serve_options(Some(&name), drafts, settings))?;
    let address = format!("http://{}", server.address());
    if common.json {
        // A reader that has left loses a line, never the server.
        let _ = writeln!(stdout(), "{}", json!({"address": address, "models": models}));
    } else if !common.quiet {
        note(format_args!("{} at {address} (chat page) and {address}/v1 (API)", models.join(", ")));
    }
    server.run_until_signalled()?;
    Ok(())
}

fn settings(args: &Serve) -> Settings {
    let mut settings = Settings::default();
    settings.host = args.host;
    settings.port = args.port;
    settings.api_keys = args.api_key.iter().filter(|key| !key.is_empty()).cloned().collect();
    settings.open = args.open;
    settings.allowed_hosts.clone_from(&args.allowed_host);
    settings.cors_origins.clone_from(&args.cors_origin);
    settings.access_log = args.access_log;
    settings.trusted_proxies.clone_from(&args.trusted_proxy);
    settings.max_rows = args.max_rows;
    settings.max_queue = args.max_queue;
    settings.max_queue_per_client = args.max_queue_per_client;
    settings.max_tokens = args.max_tokens;
    settings.cache_bytes = args.cache_mib.saturating_mul(1 << 20);
    settings.prefix_bytes = args.prefix_cache_mib.saturating_mul(1 << 20);
    settings.drain_timeout = Duration::from_secs(args.drain_seconds);
    settings
}

/// `[ID=]VALUE[:ALPHA]`: the name for clients, the value, and its weight. An existing path with this whole name takes precedence over the reading
/// with a name.
fn served_value(text: &str) -> Result<(String, &str, Option<f64>)> {
    let named = text.split_once('=').filter(|_| !Path::new(text).exists());
    let (id, rest) = named.map_or((None, text), |(id, rest)| (Some(id), rest));
    let (value, alpha) = value_and_alpha(rest)?;
    let name = match id {
        Some("") => anyhow::bail!("--value is `{text}`, expected a name before `=`"),
        Some(id) => id.to_owned(),
        None => served_name(value, &resolve(value)?)?,
    };
    Ok((name, value, alpha))
}
