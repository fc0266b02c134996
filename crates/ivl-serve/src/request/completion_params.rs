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
use crate::constraint::{Grammar, GrammarSource, RequestConstraint};
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
    /// Tokens that end the text because the client says so.
    stop_tokens: Vec<u32>,
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
    /// Give the usage so far in every part of a stream that ends with it.
    pub(crate) continuous_usage: bool,
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
            stop_tokens: Vec::new(),
            constraint: RequestConstraint::default(),
            tools: Tools::default(),
            max_tokens: Some(0),
            n: 1,
            stream: false,
            include_usage: false,
            continuous_usage: false,
        }
    }

    /// The token that ended a text, if it is one of `stop_token_ids` and no end token of the models.
    pub(crate) fn stop_token(&self, id: u32) -> Option<u32> {
        self.stop_tokens.contains(&id).then_some(id)
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
        let [ends, stop_tokens] = end_tokens(fields, catalog)?;
        config.end_tokens = [ends, stop_tokens.clone()].concat().into();
        config.stop_strings = stop_strings(fields)?;
        config.include_stop_string = fields.flag("include_stop_str_in_output")?;
        let tools = Tools::read(fields)?;
        let calls = tools.grammar(catalog.chat_template(&weights), catalog)?;
        let grammar = grammar(fields, calls, catalog)?;
        let constraint = RequestConstraint { rules: token_rules(fields, catalog)?, grammar };
        Ok(Self {
            model: model.unwrap_or(catalog.base()).to_owned(),
            weights,
            explain,
            config,
            seed: seed(fields)?,
            stop_tokens,
            constraint,
            tools,
            max_tokens,
            n: fields.count("n", 1, settings.max_choices.min(settings.max_rows))?.unwrap_or(1),
            stream,
            include_usage: options.as_ref().map_or(Ok(false), |options| options.flag("include_usage"))?,
            continuous_usage: options.map_or(Ok(false), |options| options.flag("continuous_usage_stats"))?,
        })
    }
}

/// The grammar of a field, or of the `calls` that the answer has to be.
fn grammar(
    fields: &Fields,
    calls: Option<(&'static str, GrammarSource)>,
    catalog: &Catalog,
) -> Result<Option<Grammar>, ApiError> {
    let given = grammar_source(fields)?;
    if let (Some((name, _)), Some(_)) = (&given, &calls) {
        return Err(ApiError::invalid(
            name,
            format!("`tool_choice` makes the answer a call, so it cannot have the form of `{name}`"),
        ));
    }
    let Some((name, source)) = given.or(calls) else { return Ok(None) };
    let refused = |reason: String| expected(name, &format!("a form that the answer can follow: {reason}"));
    catalog
        .grammars()
        .and_then(|compiler| compiler.compile(&source, catalog.end_tokens()))
        .map(Some)
        .map_err(refused)
}
