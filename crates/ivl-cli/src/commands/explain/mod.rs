//! `ivl explain`: what values changed in a text, token by token.

mod curve;
mod figures;
mod page;
mod terminal;

use std::io::Write;

use anyhow::{Result, bail};
use ivl::eval::explanation::Influence;
use ivl::models::{SamplingDefaults, write_bytes};
use ivl::{Explanation, MaskedText, Model, TextReader, TokenExplanation};

pub use self::terminal::Shown;
use crate::args;
use crate::args::Common;
use crate::color::is_colored;
use crate::decoding;
use crate::models;
use crate::output::stdout;
use crate::progress::bar;
use crate::prompt_files::read_messages;

const NOTHING_TO_EXPLAIN: &str =
    "there is no token to explain: a text needs two, since the first is predicted by nothing";

pub fn run(args: &args::Explain, common: &Common) -> Result<()> {
    let config = decoding::config(&args.decoding, &SamplingDefaults::default(), common)?;
    if args.models.value.is_empty() {
        bail!("there is nothing to explain without a value: give one with --value");
    }
    let mut builder = models::builder(&args.models, None, common)?;
    if args.messages.is_some() {
        builder = builder.for_chat();
    }
    let prepared = builder.prepare()?;
    let target = target(args, &prepared.reader())?;
    let model = models::load(prepared, &args.models, common)?;
    let targets = match target {
        Target::Texts(texts) => texts,
        // The answer is generated first.
        Target::Prompt(prompt) => vec![model.masked_answer(&prompt, &config)?],
    };
    let bar = bar(common, targets.len() as u64, "explaining {bar:30} {pos}/{len}");
    let mut explanations = Vec::with_capacity(targets.len());
    for target in targets {
        explanations.push(model.explain_masked(target)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let all: Vec<&TokenExplanation> = explanations.iter().flat_map(Explanation::explained).collect();
    if all.is_empty() {
        bail!(NOTHING_TO_EXPLAIN);
    }
    let mut out = stdout();
    if args.gate_curve {
        return curve::print(&mut out, &all, common);
    }
    let influence = Influence::of(&all);
    if let Some(path) = &args.html {
        write_bytes(path, page::page(&explanations, &influence, &model).as_bytes())?;
    }
    let shown = Shown { colored: is_colored(args.color), verbose: common.verbose };
    for explanation in &explanations {
        if common.json {
            writeln!(out, "{}", figures::json(explanation, &model))?;
        } else if args.html.is_none() {
            terminal::print(&mut out, explanation, &model, shown)?;
        }
    }
    if common.json && explanations.len() > 1 {
        let summary = figures::summary(&influence, model.values());
        writeln!(out, "{}", serde_json::json!({"summary": summary}))?;
    } else if !common.json {
        terminal::print_summary(&mut out, &influence, model.values())?;
    }
    Ok(())
}

/// What is explained.
enum Target {
    Texts(Vec<MaskedText>),
    /// The answer to a prompt.
    Prompt(Vec<u32>),
}

/// The texts or the prompt that the options name.
fn target(args: &args::Explain, reader: &TextReader<'_>) -> Result<Target> {
    if let Some(path) = &args.file {
        return Ok(Target::Texts(reader.masked_rows(path)?));
    }
    if let Some(text) = &args.text {
        let text = reader.masked_text(text)?;
        if text.ids.len() < 2 {
            bail!(NOTHING_TO_EXPLAIN);
        }
        return Ok(Target::Texts(vec![text]));
    }
    if let Some(path) = &args.messages {
        let (messages, template) = (read_messages(path)?, reader.chat_template()?);
        if messages.last().is_some_and(|last| last.role == "assistant") {
            return Ok(Target::Texts(vec![reader.masked_conversation(messages, &template)?]));
        }
        return Ok(Target::Prompt(reader.encode_chat(&messages, &template)?));
    }
    Ok(Target::Prompt(reader.encode_prompt(args.prompt.as_deref().unwrap_or_default())?))
}

/// Explains an answer that was generated.
pub fn answer(
    out: &mut impl Write,
    model: &Model,
    target: MaskedText,
    shown: Shown,
    json: bool,
) -> Result<()> {
    if model.values().is_empty() {
        bail!("there is nothing to explain without a value: begin with --value");
    }
    let prompt = target.mask.iter().filter(|counts| !**counts).count();
    let mut explanation = model.explain_masked(target)?;
    if json {
        writeln!(out, "{}", figures::json(&explanation, model))?;
        return Ok(());
    }
    // The prompt was seen before.
    explanation.drop_prompt(prompt);
    terminal::print(out, &explanation, model, shown)?;
    let influence = Influence::of(&explanation.explained().collect::<Vec<_>>());
    terminal::print_summary(out, &influence, model.values())
}
