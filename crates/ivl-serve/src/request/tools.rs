//! Tools that a conversation may call.

use ivl_models::ChatTemplate;
use serde_json::Value;

use super::fields::{Fields, expected};
use crate::api_error::ApiError;

/// Tools of a request.
const MOST_TOOLS: usize = 128;

/// `tools` and `tool_choice`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tools {
    /// As they were sent; none where `tool_choice` is `none`.
    list: Vec<Value>,
}

impl Tools {
    /// Reads the fields.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for what is not a list of functions, and for a choice that cannot be enforced.
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        let wanted = || {
            expected(
                "tools",
                &format!("a list of at most {MOST_TOOLS} objects with `type`: \"function\" and `function`"),
            )
        };
        let list = match fields.get("tools") {
            None => Vec::new(),
            Some(value) => {
                value.as_array().filter(|list| list.len() <= MOST_TOOLS).ok_or_else(wanted)?.clone()
            }
        };
        let is_function =
            |tool: &Value| tool["type"] == "function" && tool["function"]["name"].as_str().is_some();
        if !list.iter().all(is_function) {
            return Err(wanted());
        }
        match fields.get("tool_choice") {
            None => {}
            Some(choice) if choice == "auto" => {}
            Some(choice) if choice == "none" => return Ok(Self::default()),
            Some(_) => {
                let message = "only `none` and `auto` are supported";
                return Err(ApiError::invalid("tool_choice", message));
            }
        }
        if !list.is_empty() && fields.get("parallel_tool_calls").is_some_and(|wanted| wanted == false) {
            return Err(ApiError::invalid(
                "parallel_tool_calls",
                "`parallel_tool_calls`: false is not supported",
            ));
        }
        Ok(Self { list })
    }

    /// Whether the answer may call one.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The tools for a template.
    ///
    /// # Errors
    /// [`ApiError::invalid`] if the template does not show them.
    pub(super) fn for_template(&self, template: &ChatTemplate) -> Result<Option<Vec<Value>>, ApiError> {
        if self.is_empty() {
            return Ok(None);
        }
        if !template.identity().contains("tools") {
            return Err(ApiError::invalid("tools", "the chat template of this model does not show tools"));
        }
        Ok(Some(self.list.clone()))
    }
}
