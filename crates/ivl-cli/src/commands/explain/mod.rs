//! `ivl explain`: what values changed in a text, token by token.

mod curve;
mod figures;
mod page;
mod passage;
mod terminal;

use std::io::Write;

use anyhow::{Context, Result, bail};
use ivl_core::score::{TokenExplanation, explain_from};
use ivl_eval::Influence;

use self::passage::Passage;
use crate::args;
use crate::args::Common;
use crate::color::is_colored;
use crate::compose::Composed;
use crate::decoding;
use crate::progress::bar;

/// A passage and what was done to its tokens.
struct Explanation {
    passage: Passage,
    tokens: Vec<Option<TokenExplanation>>,
}

impl Explanation {
    /// Reads a passage; of the tokens that nobody asked about nothing is kept.
    fn of(passage: Passage, composed: &Composed) -> Result<Self> {
        let given = passage.asked.iter().position(|asked| *asked).unwrap_or(passage.ids.len());
        let mut tokens = explain_from(&*composed.lm, &passage.ids, given)
            .with_context(|| format!("cannot explain {}", passage.origin.as_deref().unwrap_or("the text")))?;
        for (token, asked) in tokens.iter_mut().zip(&passage.asked) {
            *token = token.take().filter(|_| *asked);
        }
        Ok(Self { passage, tokens })
    }

    fn explained(&self) -> impl Iterator<Item = &TokenExplanation> {
        self.tokens.iter().flatten()
    }

    fn influence(&self) -> Influence {
        Influence::of(&self.explained().collect::<Vec<_>>())
    }
}

pub fn run(args: &args::Explain, common: &Common) -> Result<()> {
    let config = decoding::config(&args.decoding, common)?;
    let composed = Composed::load(&args.models, common)?;
    if composed.attached.is_empty() {
        bail!("there is nothing to explain without a value: give one with --value");
    }
    let config = decoding::ending(config, &args.decoding, &composed);
    let passages = passage::read(args, &config, &composed)?;
    let bar = bar(common, passages.len() as u64, "explaining {bar:30} {pos}/{len}");
    let explanations: Vec<Explanation> = passages
        .into_iter()
        .map(|passage| {
            let explanation = Explanation::of(passage, &composed);
            bar.inc(1);
            explanation
        })
        .collect::<Result<_>>()?;
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
        let html = page::page(&explanations, &influence, &composed);
        ivl_models::write_bytes(path, html.as_bytes())?;
    }
    for explanation in &explanations {
        if common.json {
            writeln!(out, "{}", figures::json(explanation, &composed))?;
        } else if args.html.is_none() {
            terminal::print(&mut out, explanation, &composed, (is_colored(args.color), common.verbose))?;
        }
    }
    if common.json && explanations.len() > 1 {
        writeln!(
            out,
            "{}",
            serde_json::json!({"summary": figures::summary(&influence, &composed.attached)})
        )?;
    } else if !common.json {
        terminal::print_summary(&mut out, &influence, &composed.attached)?;
    }
    Ok(())
}

/// Explains an answer that was written.
pub fn answer(
    out: &mut impl Write,
    composed: &Composed,
    (prompt, answer): (&[u32], &[u32]),
    json: bool,
    shown: (bool, bool),
) -> Result<()> {
    if composed.attached.is_empty() {
        bail!("there is nothing to explain without a value: begin with --value");
    }
    let asked = (0..prompt.len() + answer.len()).map(|at| at >= prompt.len()).collect();
    let passage = Passage { origin: None, ids: [prompt, answer].concat(), asked };
    let mut explanation = Explanation::of(passage, composed)?;
    if json {
        writeln!(out, "{}", figures::json(&explanation, composed))?;
        return Ok(());
    }
    // The prompt was seen before.
    explanation.passage.ids.drain(..prompt.len());
    explanation.tokens.drain(..prompt.len());
    terminal::print(out, &explanation, composed, shown)?;
    terminal::print_summary(out, &explanation.influence(), &composed.attached)
}
