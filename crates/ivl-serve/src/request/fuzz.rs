//! Properties that hold for every body: the target of a fuzzer.

use super::{Fields, Request};
use crate::catalog::Catalog;
use crate::settings::Settings;

/// Reads a body as both kinds of completions do. It must give an error that says something, or a request within every
/// limit.
///
/// # Panics
/// If it does not.
pub fn fuzz_request(data: &[u8], catalog: &Catalog, settings: &Settings) {
    let Ok(fields) = Fields::parse(data) else { return };
    for read in [Request::completion, Request::chat] {
        match read(&fields, catalog, settings) {
            Ok(request) => check(&request, catalog, settings),
            Err(error) => assert!(!error.message.is_empty() && error.status.is_client_error()),
        }
    }
}

fn check(request: &Request, catalog: &Catalog, settings: &Settings) {
    let params = &request.params;
    assert!(!request.prompts.is_empty() && params.n >= 1);
    assert!(request.prompts.len() * params.n <= settings.max_choices);
    assert_eq!(params.weights.len(), catalog.values().len());
    assert!(params.weights.iter().all(|weight| weight.is_finite()));
    for prompt in &request.prompts {
        assert!(!prompt.ids.is_empty());
        assert!(prompt.ids.len() + params.config.max_new_tokens <= catalog.context());
        assert!(prompt.ids.iter().all(|&id| (id as usize) < catalog.vocab().size()));
        assert_eq!(prompt.ids.len(), prompt.offsets.len());
        assert!(prompt.offsets.is_sorted());
    }
    params.config.sampling.validate().expect("a request within the limits can be sampled");
}
