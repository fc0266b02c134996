//! Where a text ends, and which tokens it may have.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{Fields, expected, ids};
use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::constraint::TokenRules;

/// Stop strings of a request, and bytes of one.
const STOPS: (usize, usize) = (16, 1024);

/// Tokens of `stop_token_ids` and `allowed_token_ids`, words of `bad_words`.
const MOST_LISTED: usize = 1024;

/// `stop`: strings before which the text is cut.
pub(super) fn stop_strings(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let wanted = || {
        let (count, bytes) = STOPS;
        expected("stop", &format!("a string or a list of at most {count} strings of at most {bytes} bytes"))
    };
    let stop = |value: &Value| value.as_str().filter(|stop| stop.len() <= STOPS.1).map(str::to_owned);
    match fields.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= STOPS.0 => {
            list.iter().map(|value| stop(value).ok_or_else(wanted)).collect()
        }
        Some(value) => Ok(vec![stop(value).ok_or_else(wanted)?]),
    }
}

/// Tokens that end the text: those of the models, unless `ignore_eos`, and those of `stop_token_ids` that are none of them.
pub(super) fn end_tokens(fields: &Fields, catalog: &Catalog) -> Result<[Vec<u32>; 2], ApiError> {
    let ends = match fields.flag("ignore_eos")? {
        true => Vec::new(),
        false => catalog.end_tokens().to_vec(),
    };
    let mut stops = listed("stop_token_ids", fields, catalog)?.unwrap_or_default();
    stops.retain(|id| !ends.contains(id));
    Ok([ends, stops])
}

/// `allowed_token_ids` and `bad_words`.
pub(super) fn token_rules(fields: &Fields, catalog: &Catalog) -> Result<TokenRules, ApiError> {
    let allowed = listed("allowed_token_ids", fields, catalog)?;
    if allowed.as_ref().is_some_and(Vec::is_empty) {
        return Err(expected("allowed_token_ids", "at least one token"));
    }
    let mut forbidden = Vec::new();
    for word in bad_words(fields)? {
        forbidden.extend(spellings(&word, catalog)?);
    }
    Ok(TokenRules::new(allowed.map(|ids| ids.into_iter().collect::<BTreeSet<u32>>()), forbidden))
}

fn listed(name: &str, fields: &Fields, catalog: &Catalog) -> Result<Option<Vec<u32>>, ApiError> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let size = catalog.vocab().size();
    let list = ids(value).filter(|ids| ids.iter().all(|&id| (id as usize) < size));
    // An allowed list may be most of the vocabulary.
    let most = if name == "allowed_token_ids" { size } else { MOST_LISTED };
    match list.filter(|ids| ids.len() <= most) {
        Some(ids) => Ok(Some(ids)),
        None => Err(expected(name, &format!("a list of at most {most} token ids of the model"))),
    }
}

fn bad_words(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let wanted =
        || expected("bad_words", &format!("a list of at most {MOST_LISTED} strings that are not empty"));
    let Some(value) = fields.get("bad_words") else { return Ok(Vec::new()) };
    let list = value.as_array().filter(|list| list.len() <= MOST_LISTED).ok_or_else(wanted)?;
    let word = |value: &Value| value.as_str().filter(|word| !word.trim().is_empty()).map(str::to_owned);
    list.iter().map(|value| word(value).ok_or_else(wanted)).collect()
}

/// The tokens of a word at the beginning of a text and after a space, as in vLLM.
fn spellings(word: &str, catalog: &Catalog) -> Result<Vec<Vec<u32>>, ApiError> {
    let cannot = |_| ApiError::invalid("bad_words", format!("`{word}` cannot be tokenized"));
    let bare = word.trim_start();
    let mut spellings = Vec::new();
    for text in [bare.to_owned(), format!(" {bare}")] {
        let ids = catalog.tokenizer().encode(&text, false).map_err(cannot)?;
        if !ids.is_empty() && !spellings.contains(&ids) {
            spellings.push(ids);
        }
    }
    Ok(spellings)
}
