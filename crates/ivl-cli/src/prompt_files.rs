//! Files with prompts and messages.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl::Message;
use ivl::models::read_text;

/// Largest prompt or message file that is read.
const LARGEST_INPUT: u64 = 64 << 20;

/// A file as text.
pub fn read_prompt(path: &Path) -> Result<String> {
    Ok(read_text(path, "a prompt", LARGEST_INPUT)?)
}

/// A JSON list of messages.
pub fn read_messages(path: &Path) -> Result<Vec<Message>> {
    let messages: Vec<Message> = serde_json::from_str(&read_prompt(path)?).with_context(|| {
        format!("`{}` is not a JSON list of messages with role and content", path.display())
    })?;
    if messages.is_empty() {
        bail!("`{}` holds no message", path.display());
    }
    Ok(messages)
}
