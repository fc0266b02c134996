//! Templates: conversations to text, rows of data to prompts.

pub(crate) mod chat;
pub(crate) mod chat_error;
pub(crate) mod chat_spans;
mod jinja;
mod pattern;
mod percent_format;
mod python;
mod python_filters;
mod python_methods;
mod row_template;
mod strftime;

pub use chat::{ChatTemplate, Message, RenderOptions};
pub use chat_error::ChatError;
pub use chat_spans::{Spoken, Turn};
pub use pattern::{Pattern, PatternError, PatternFlags};
pub use row_template::{RowTemplate, RowTemplateError};
