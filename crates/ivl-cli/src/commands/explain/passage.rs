//! What is explained: texts, demonstrations, answers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ivl_core::Vocab;
use ivl_core::decode::{GenerateConfig, generate};
use ivl_models::Message;
use ivl_train::{Conversation, Dataset, Demonstration, Encoder, Place, Row, SourceConfig};

use crate::args::Explain;
use crate::compose::Composed;
use crate::prompt;

/// A text in tokens, and which of them are asked about.
pub struct Passage {
    /// Where it comes from, if there are several.
    pub origin: Option<String>,
    pub ids: Vec<u32>,
    pub asked: Vec<bool>,
}

/// The passages that the options name. Answers are written first.
pub fn read(args: &Explain, config: &GenerateConfig, composed: &Composed) -> Result<Vec<Passage>> {
    if let Some(path) = &args.file {
        return demonstrations(path, composed);
    }
    let passage = match (&args.text, &args.prompt, &args.messages) {
        (Some(text), _, _) => {
            composed.check(text)?;
            let ids = composed.tokenizer.encode(text, true)?;
            Passage { origin: None, asked: vec![true; ids.len()], ids }
        }
        (None, Some(prompt), _) => answer(prompt::of_text(prompt, composed)?, config, composed)?,
        (None, None, Some(path)) => conversation(path.clone(), config, composed)?,
        (None, None, None) => Passage { origin: None, ids: Vec::new(), asked: Vec::new() },
    };
    Ok(vec![passage])
}

/// Writes an answer and asks about it.
fn answer(prompt: Vec<u32>, config: &GenerateConfig, composed: &Composed) -> Result<Passage> {
    let mut asked = vec![false; prompt.len()];
    let mut ids = prompt.clone();
    for step in generate(&*composed.lm, &[prompt], config)? {
        ids.push(step?.token);
        asked.push(true);
    }
    Ok(Passage { origin: None, ids, asked })
}

/// The assistant's turns of a conversation, or an answer if it is the assistant's turn.
fn conversation(path: PathBuf, config: &GenerateConfig, composed: &Composed) -> Result<Passage> {
    let messages: Vec<Message> = prompt::read_messages(&path)?;
    let template = composed.chat_template()?;
    if messages.last().is_none_or(|last| last.role != "assistant") {
        return answer(prompt::of_messages(&messages, &template, composed)?, config, composed);
    }
    let encoder = Encoder::new(&composed.tokenizer, Some(&template), composed.lm.max_positions());
    let demonstration = Demonstration::Conversation(Conversation::new(messages));
    let row = Row { place: Place { path, unit: "conversation", number: 1 }, demonstration };
    encoded(&encoder, &row, composed)
}

fn demonstrations(path: &std::path::Path, composed: &Composed) -> Result<Vec<Passage>> {
    let dataset = Dataset::open(&[SourceConfig::new(path)])?;
    // Texts and prompt-completion pairs need no template; what does says so.
    let template = composed.chat_template().ok();
    let encoder = Encoder::new(&composed.tokenizer, template.as_ref(), composed.lm.max_positions());
    let rows = dataset.sources.iter().flat_map(ivl_train::Source::rows);
    rows.map(|row| {
        let row = row?;
        let passage = encoded(&encoder, &row, composed)?;
        Ok(Passage { origin: Some(row.place.to_string()), ..passage })
    })
    .collect()
}

fn encoded(encoder: &Encoder<'_>, row: &Row, composed: &Composed) -> Result<Passage> {
    let example = encoder.encode(row)?;
    composed.check(&spelled(composed.lm.vocab(), &example.ids)).with_context(|| row.place.to_string())?;
    Ok(Passage { origin: None, ids: example.ids, asked: example.learnt })
}

/// The text of some tokens.
fn spelled(vocab: &Vocab, ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| vocab.text_bytes(id)).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
