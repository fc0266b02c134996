//! How a task is run, and what of that decides its answers.

use ivl_models::ChatTemplate;
use serde_json::{Value, json};

use crate::task::{Task, digest};

/// How a task is run.
#[derive(Debug, Clone, Default)]
pub struct RunSettings {
    /// Only the first rows.
    pub limit: Option<usize>,
    /// Examples before each prompt, in place of what the task says.
    pub num_fewshot: Option<usize>,
    /// Sequences in a forward pass; 0 counts as 1.
    pub batch_size: usize,
    /// Most tokens that the model reads; what it can unless set.
    pub max_length: Option<usize>,
    /// Most new tokens of an answer, in place of what the task says.
    pub max_gen_toks: Option<usize>,
    /// Prompts are turns of a chat, rendered by this template.
    pub chat_template: Option<ChatTemplate>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Everything except the model that decides the answers of a run; a log of another run is refused by it.
pub fn identity(task: &Task, settings: &RunSettings, max_positions: usize) -> Value {
    let mut identity = task.identity();
    let chat = settings.chat_template.as_ref().map(ChatTemplate::identity);
    identity["num_fewshot"] = json!(settings.num_fewshot.unwrap_or(task.file.num_fewshot));
    identity["max_length"] = json!(settings.max_length.unwrap_or(max_positions));
    identity["max_gen_toks"] = json!(settings.max_gen_toks.unwrap_or(task.max_gen_toks()));
    identity["chat_template"] = json!(chat.map(|chat| digest(chat.as_bytes())));
    identity
}
