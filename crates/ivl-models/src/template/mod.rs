//! Templates: conversations to text, rows of data to prompts.

mod anchored;
pub(crate) mod chat;
pub(crate) mod chat_error;
mod choice;
mod generation_blocks;
mod jinja;
mod letters;
mod message;
mod pattern;
mod percent_format;
mod python;
mod python_filters;
mod python_methods;
mod row_template;
mod spans;
mod strftime;
mod turn_frame;

pub use chat::{ChatTemplate, RenderOptions};
pub use chat_error::ChatError;
pub use choice::{TemplateChoice, fused_end_tokens};
pub use message::Message;
pub use pattern::{Pattern, PatternError, PatternFlags};
pub use row_template::{RowTemplate, RowTemplateError};
pub use spans::{SpanFinder, Spoken, Turn};
