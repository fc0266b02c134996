//! Keys of a task file that are missing or do not fit together.

use std::path::Path;

use super::file::{GenerationSettings, MetricName, OutputType, TaskFile};
use crate::error::Error;

/// Keys that belong to other kinds of task, and keys that are missing.
pub(super) fn check(path: &Path, file: &TaskFile) -> Result<(), Error> {
    let kind = file.output_type;
    let setting = |key: &str, expected, got: &str| {
        Err(Error::Setting { path: path.to_owned(), key: key.to_owned(), expected, got: got.to_owned() })
    };
    let name = &file.task;
    if name.is_empty()
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        || name.starts_with('.')
    {
        return setting(
            "task",
            "a name of letters, digits, `-`, `_` and `.`, since files are called by it",
            name,
        );
    }
    let missing = |key| Err(Error::Missing { path: path.to_owned(), key, kind: kind.name() });
    if kind == OutputType::MultipleChoice && file.doc_to_choice.is_none() {
        return missing("doc_to_choice");
    }
    if kind != OutputType::MultipleChoice && file.doc_to_choice.is_some() {
        return setting("doc_to_choice", "only for output_type `multiple_choice`", kind.name());
    }
    let scored = file.metric_list.iter().any(|metric| metric.metric != MetricName::Ifeval);
    let needs_target = kind != OutputType::GenerateUntil
        || scored
        || file.metric_list.is_empty() && file.completions.is_none();
    if file.doc_to_target.is_none() && needs_target {
        return missing("doc_to_target");
    }
    if kind != OutputType::LoglikelihoodRolling && file.doc_to_text.is_empty() {
        return missing("doc_to_text");
    }
    if kind == OutputType::LoglikelihoodRolling && !file.doc_to_text.is_empty() {
        return setting("doc_to_text", "nothing for output_type `loglikelihood_rolling`", &file.doc_to_text);
    }
    if kind != OutputType::GenerateUntil && file.generation_kwargs != GenerationSettings::default() {
        return setting("generation_kwargs", "only for output_type `generate_until`", kind.name());
    }
    if kind != OutputType::GenerateUntil && !(file.filter_list.is_empty() && file.completions.is_none()) {
        return setting("filter_list and completions", "only for output_type `generate_until`", kind.name());
    }
    if kind != OutputType::LoglikelihoodRolling && file.doc_to_count.is_some() {
        return setting("doc_to_count", "only for output_type `loglikelihood_rolling`", kind.name());
    }
    if file.generation_kwargs.max_gen_toks == Some(0) {
        return setting("generation_kwargs.max_gen_toks", "at least 1", "0");
    }
    Ok(())
}
