//! Options of the command line, as the library takes them.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use ivl::core::cross_tokenizer::ByteFusionConfig;
use ivl::{
    Attach, AttachedValue, DraftOptions, DraftSource, Gate, LoadProgress, Model, ModelBuilder, OpenOptions,
    PreparedModel, ServeOptions,
};

use crate::args::{AttachOptions, Common, Drafts, Dtype, Models, Template};
use crate::notes::note;
use crate::progress::bar;

/// The name of drafts without a model. A directory of this name is `./prompt-lookup`.
const LOOKUP: &str = "prompt-lookup";

/// Weights beyond this are noted.
const LARGEST_ALPHA: f64 = 10.0;

/// Tokens that prompt lookup matches by default.
const NGRAM: usize = 3;

/// Device and type of the weights, with one progress bar for the models that are loaded.
pub fn open_options(common: &Common) -> OpenOptions {
    let mut options = OpenOptions::new().device(&common.device).dtype(dtype(common.dtype));
    options.places.clone_from(&common.place);
    options.kv_cache_dtype = common.kv_cache_dtype;
    if !common.quiet {
        options = options.on_note(|text| note(format_args!("note: {text}")));
    }
    if common.verbose && !common.quiet {
        options = options.on_placed(|placed| note(format_args!("device map: {placed}")));
    }
    let common = common.clone();
    let current: Mutex<Option<ProgressBar>> = Mutex::new(None);
    options.progress(move |progress: LoadProgress<'_>| {
        let mut current = current.lock().expect("no one panics while it holds the bar");
        let bar = current.get_or_insert_with(|| {
            let bar = bar(&common, progress.total, "{msg} {bar:30} {percent}%, {left} left");
            bar.set_message("loading");
            bar
        });
        bar.set_position(progress.done);
        if progress.done == progress.total {
            bar.finish_and_clear();
            *current = None;
        }
    })
}

/// Adds what `--chat-template` names.
pub fn with_template(options: OpenOptions, template: &Template) -> OpenOptions {
    options.chat_template(template.chat_template.parse().unwrap_or_else(|never| match never {}))
}

/// A type of weights as the library calls it.
pub fn dtype(dtype: Dtype) -> ivl::Dtype {
    match dtype {
        Dtype::Auto => ivl::Dtype::Auto,
        Dtype::F32 => ivl::Dtype::F32,
        Dtype::F16 => ivl::Dtype::F16,
        Dtype::Bf16 => ivl::Dtype::Bf16,
        Dtype::Int8 => ivl::Dtype::Int8,
        Dtype::Int4 => ivl::Dtype::Int4,
    }
}

/// The models of `--base` and `--value`, to be opened.
pub fn builder(models: &Models, gate: Option<Gate>, common: &Common) -> Result<ModelBuilder> {
    let options = with_template(open_options(common), &models.template);
    check_attach_options(&models.attach, models.value.len())?;
    let mut builder = Model::builder(&models.base).options(options);
    for text in &models.value {
        let (value, alpha) = value_and_alpha(text)?;
        builder = builder.attach(value, attach(alpha, &models.attach));
    }
    Ok(match gate {
        Some(gate) => builder.gate(gate),
        None => builder,
    })
}

/// Refuses options about values where there is no value.
pub fn check_attach_options(options: &AttachOptions, values: usize) -> Result<()> {
    let vocabulary = "is about the vocabulary of a value";
    let given = [
        ("--map", vocabulary, !options.map.is_empty()),
        ("--byte-fusion", vocabulary, options.byte_fusion.is_some()),
        ("--adapter-difference", "is about how values are added", options.adapter_difference),
    ];
    match given.into_iter().find(|(.., given)| *given && values == 0) {
        Some((option, what, _)) => bail!("{option} {what}, but there is none; add one with --value"),
        None => Ok(()),
    }
}

/// Notes options that have no effect on the values of a model.
pub fn note_idle_options(model: &Model, options: &AttachOptions, common: &Common) {
    if common.quiet || model.values().iter().any(AttachedValue::has_own_tokens) {
        return;
    }
    for (option, given) in
        [("--map", !options.map.is_empty()), ("--byte-fusion", options.byte_fusion.is_some())]
    {
        if given {
            note(format_args!("note: {option} has no effect: every value has the base's vocabulary"));
        }
    }
}

/// Opens a model whose inputs need no check, and notes what is unusual about it.
pub fn open(builder: ModelBuilder, models: &Models, common: &Common) -> Result<Model> {
    load(builder.prepare()?, models, common)
}

/// Loads the weights of a model, and notes what is unusual about it.
pub fn load(prepared: PreparedModel, models: &Models, common: &Common) -> Result<Model> {
    let model = prepared.load()?;
    note_idle_options(&model, &models.attach, common);
    for value in model.values() {
        warn_of_alpha(value.name(), value.alpha(), common);
    }
    if common.verbose
        && !common.quiet
        && let Ok(template) = model.chat_template()
    {
        note(format_args!("chat template: `{}`", template.path().display()));
    }
    Ok(model)
}

/// Notes a weight that no value is meant for.
pub fn warn_of_alpha(value: &str, alpha: f64, common: &Common) {
    if alpha.abs() > LARGEST_ALPHA && !common.quiet {
        note(format_args!(
            "note: the weight of `{value}` is {alpha}; weights are usually between 0 and 2, and far beyond them the base no \
             longer counts"
        ));
    }
}

/// How a value is attached.
pub fn attach(alpha: Option<f64>, options: &AttachOptions) -> Attach {
    let config = ByteFusionConfig::default().unseen(options.unseen).branches(options.branches);
    let mut attach = Attach::new().byte_fusion_config(config);
    (attach.alpha, attach.maps) = (alpha, options.map.clone());
    attach.byte_fusion.clone_from(&options.byte_fusion);
    attach.adapter_difference = options.adapter_difference;
    attach
}

/// `VALUE[:ALPHA]`. An existing path with this whole name takes precedence over the reading with an alpha.
pub fn value_and_alpha(text: &str) -> Result<(&str, Option<f64>)> {
    match text.rsplit_once(':') {
        Some((name, alpha)) if !Path::new(text).exists() => match alpha.parse::<f64>() {
            Ok(alpha) => Ok((name, Some(alpha))),
            Err(_) if ivl::is_hub_name(text) && !Path::new(name).exists() => Ok((text, None)),
            Err(_) => bail!("--value is `{text}`, expected VALUE or VALUE:ALPHA with a number for ALPHA"),
        },
        _ => Ok((text, None)),
    }
}

/// The source of drafts that `--draft` names.
pub fn drafts(options: &Drafts) -> Result<Option<DraftOptions>> {
    let Some(name) = &options.draft else { return Ok(None) };
    if options.draft_tokens == 0 {
        bail!("--draft-tokens is 0, expected at least 1");
    }
    let source = match name.strip_prefix(LOOKUP) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => {
            let ngram = match rest.strip_prefix(':') {
                None => NGRAM,
                Some(n) => n.parse().ok().filter(|&n| n > 0).with_context(|| {
                    format!("--draft is `{name}`, expected {LOOKUP} or {LOOKUP}:N with N at least 1")
                })?,
            };
            DraftSource::PromptLookup { ngram }
        }
        _ => DraftSource::Model(name.clone()),
    };
    let drafts = DraftOptions::new(source).dtype(dtype(options.draft_dtype));
    Ok(Some(drafts.without_values(options.draft_alone).max_tokens(options.draft_tokens)))
}

/// How a model is served under some settings.
pub fn serve_options(
    name: Option<&String>,
    drafts: Option<DraftOptions>,
    settings: ivl::serve::Settings,
) -> ServeOptions {
    let mut options = ServeOptions::new().settings(settings);
    (options.name, options.draft) = (name.cloned(), drafts);
    options
}
