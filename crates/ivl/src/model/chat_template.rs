//! The chat template of a base with values.

use std::path::Path;

use ivl_models::{ChatError, ChatTemplate, TemplateChoice};

use crate::error::{Error, Result};

/// The template that a choice finds for the directories of a base and its values.
pub(super) fn find_template(choice: &TemplateChoice, base: &Path, values: &[&Path]) -> Result<ChatTemplate> {
    choice.find(base, values).map_err(|error| match error {
        ChatError::NoTemplate { .. } => Error::NoChatTemplate { base: base.to_owned() },
        error => error.into(),
    })
}
