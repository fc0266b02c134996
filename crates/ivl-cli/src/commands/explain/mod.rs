//! `ivl explain`: what values changed in a text, token by token.

mod curve;
mod figures;
mod page;
mod terminal;

use std::io::Write;

use anyhow::{Result, bail};
use ivl::eval::explanation::Influence;
use ivl::models::{SamplingDefaults, write_bytes};
use ivl::{Explanation, GenerateConfig, MaskedText, Model, TokenExplanation};

pub use self::terminal::Shown;
use crate::args;
use crate::args::Common;
use crate::color::is_colored;
use crate::decoding;
use crate::models;
use crate::progress::bar;
use crate::prompt_files::read_messages;

pub fn run(args: &args::Explain, common: &Common) -> Result<()> {
    let config = decoding::config(&args.decoding, &SamplingDefaults::default(), common)?;
    if args.models.value.is_empty() {
        bail!("there is nothing to explain without a value: give one with --value");
    }
    let mut builder = models::builder(&args.models, None, common)?;
    if args.messages.is_some() {
        builder = builder.for_chat();
    }
    let model = models::open(builder, common)?;
    let targets = targets(args, &config, &model)?;
    let bar = bar(common, targets.len() as u64, "explaining {bar:30} {pos}/{len}");
    let mut explanations = Vec::with_capacity(targets.len());
    for target in targets {
        explanations.push(model.explain_masked(target)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let all: Vec<&TokenExplanation> = explanations.iter().flat_map(Explanation::explained).collect();
    if all.is_empty() {
        bail!("there is no token to explain: a text needs two, since the first is predicted by nothing");
    }
    let mut out = std::io::stdout().lock();
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

/// The texts that the options name. Answers are generated first.
fn targets(args: &args::Explain, config: &GenerateConfig, model: &Model) -> Result<Vec<MaskedText>> {
    if let Some(path) = &args.file {
        return Ok(model.masked_rows(path)?);
    }
    if let Some(text) = &args.text {
        return Ok(vec![model.masked_text(text)?]);
    }
    if let Some(path) = &args.messages {
        return Ok(vec![model.masked_chat(read_messages(path)?, &model.chat_template()?, config)?]);
    }
    let prompt = model.encode_prompt(args.prompt.as_deref().unwrap_or_default())?;
    Ok(vec![model.masked_answer(&prompt, config)?])
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
