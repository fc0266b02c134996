//! Files with prompts and messages.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl::Message;

/// Largest prompt or message file that is read.
const LARGEST_INPUT: u64 = 64 << 20;

/// A file as text.
pub fn read_text(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    if size > LARGEST_INPUT {
        bail!("`{}` has {size} bytes, more than the {LARGEST_INPUT} that ivl reads", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}` as UTF-8 text", path.display()))
}

/// A JSON list of messages.
pub fn read_messages(path: &Path) -> Result<Vec<Message>> {
    let messages: Vec<Message> = serde_json::from_str(&read_text(path)?).with_context(|| {
        format!("`{}` is not a JSON list of messages with role and content", path.display())
    })?;
    if messages.is_empty() {
        bail!("`{}` holds no message", path.display());
    }
    Ok(messages)
}
