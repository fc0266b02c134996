//! What both kinds of completions have in common: model, values, sampling, limits.

use ivl_core::decode::GenerateConfig;

use super::fields::{Fields, expected};
use super::sampling::{sampling, seed};
use super::stops::{end_tokens, stop_strings, token_rules};
use super::structure::grammar_source;
use super::tools::Tools;
use super::unsupported::refuse_unsupported;
use super::values::values;
use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::constraint::{Grammar, RequestConstraint};
use crate::settings::Settings;

/// A request apart from its prompts.
#[derive(Debug, Clone)]
pub(crate) struct CompletionParams {
    /// The name that the answer repeats.
    pub(crate) model: String,
    /// A weight for every value.
    pub(crate) weights: Vec<f64>,
    /// Whether to report what the values changed.
    pub(crate) explain: bool,
    /// How to continue. The limit of new tokens is set when the prompt is known, the seed for each prompt.
    pub(crate) config: GenerateConfig,
    /// The seed; without one, every prompt draws with its own.
    pub(crate) seed: Option<u64>,
    /// Which tokens are allowed.
    pub(crate) constraint: RequestConstraint,
    /// Tools that the answer may call.
    pub(crate) tools: Tools,
    /// New tokens asked for.
    pub(crate) max_tokens: Option<usize>,
    /// Continuations of each prompt.
    pub(crate) n: usize,
    /// Send parts of the answer as they come.
    pub(crate) stream: bool,
    /// End a stream with the usage.
    pub(crate) include_usage: bool,
}

impl CompletionParams {
    /// A request that only reads.
    pub(crate) fn reading(model: &str, weights: Vec<f64>) -> Self {
        let mut config = GenerateConfig::default();
        config.max_new_tokens = 0;
        Self {
            model: model.to_owned(),
            weights,
            explain: true,
            config,
            seed: None,
            constraint: RequestConstraint::default(),
            tools: Tools::default(),
            max_tokens: Some(0),
            n: 1,
            stream: false,
            include_usage: false,
        }
    }

    pub(super) fn read(fields: &Fields, catalog: &Catalog, settings: &Settings) -> Result<Self, ApiError> {
        refuse_unsupported(fields)?;
        let stream = fields.flag("stream")?;
        let options = fields.object("stream_options")?;
        if options.is_some() && !stream {
            return Err(ApiError::invalid("stream_options", "`stream_options` needs `stream`: true"));
        }
        let model = fields.text("model")?;
        let (weights, explain) = values(fields, catalog, model)?;
        let limit = settings.max_tokens;
        let max_tokens = match fields.count("max_completion_tokens", 0, limit)? {
            Some(tokens) => Some(tokens),
            None => fields.count("max_tokens", 0, limit)?,
        };
        let mut config = GenerateConfig::default();
        config.max_new_tokens = 0;
        config.min_new_tokens = fields.count("min_tokens", 0, max_tokens.unwrap_or(limit))?.unwrap_or(0);
        config.sampling = sampling(fields, catalog)?;
        config.end_tokens = end_tokens(fields, catalog)?.into();
        config.stop_strings = stop_strings(fields)?;
        config.include_stop_string = fields.flag("include_stop_str_in_output")?;
        let constraint =
            RequestConstraint { rules: token_rules(fields, catalog)?, grammar: grammar(fields, catalog)? };
        Ok(Self {
            model: model.unwrap_or(catalog.base()).to_owned(),
            weights,
            explain,
            config,
            seed: seed(fields)?,
            constraint,
            tools: Tools::read(fields)?,
            max_tokens,
            n: fields.count("n", 1, settings.max_choices.min(settings.max_rows))?.unwrap_or(1),
            stream,
            include_usage: options.map_or(Ok(false), |options| options.flag("include_usage"))?,
        })
    }
}

fn grammar(fields: &Fields, catalog: &Catalog) -> Result<Option<Grammar>, ApiError> {
    let Some((name, source)) = grammar_source(fields)? else { return Ok(None) };
    let refused = |reason: String| expected(name, &format!("a form that the answer can follow: {reason}"));
    catalog
        .grammars()
        .and_then(|compiler| compiler.compile(&source, catalog.end_tokens()))
        .map(Some)
        .map_err(refused)
}
