//! `ivl generate`: streams text.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use ivl_core::decode::{FinishReason, GeneratedToken, SpeculationTotals, generate, speculate};
use ivl_models::Message;
use serde_json::json;

use crate::args::{Common, Generate};
use crate::compose::Composed;
use crate::draft::speculation;
use crate::{decoding, prompt};

pub fn run(args: &Generate, common: &Common) -> Result<()> {
    if args.n == 0 {
        bail!("--n is 0, expected at least 1");
    }
    let config = decoding::config(&args.decoding, common)?;
    let input = input(args)?;
    let composed = Composed::load_gated(&args.models, args.gate, common)?;
    let prompt = match &input {
        Input::Text(text) => prompt::of_text(text, &composed)?,
        Input::Messages(messages) => prompt::of_messages(messages, &composed.chat_template()?, &composed)?,
    };
    let config = decoding::ending(config, &args.decoding, &composed);
    let speculation = speculation(&args.drafts, composed.lm.vocab(), common)?;
    let prompts = vec![prompt.clone(); args.n];
    let mut answers = vec![Answer::default(); args.n];
    let mut out = std::io::stdout().lock();
    let mut take = |step: GeneratedToken| -> Result<()> {
        let answer = &mut answers[step.row];
        answer.ids.push(step.token);
        answer.text.push_str(&step.text);
        answer.finish = step.finish;
        if !common.json && args.n == 1 {
            write!(out, "{}", step.text)?;
            out.flush()?;
        }
        Ok(())
    };
    let began = Instant::now();
    let mut drafts = None;
    if let Some(speculation) = speculation {
        let mut texts = speculate(composed.lm.rows()?, speculation, &prompts, &config)?;
        texts.by_ref().try_for_each(|step| take(step?))?;
        drafts = Some(texts.totals());
    } else {
        generate(&*composed.lm, &prompts, &config)?.try_for_each(|step| take(step?))?;
    }
    let run = Run { prompt_tokens: prompt.len(), seconds: began.elapsed().as_secs_f64(), n: args.n, drafts };
    for (index, answer) in answers.iter().enumerate() {
        match (common.json, args.n) {
            (true, _) => {
                let mut object = run.json(index, answer);
                if let Some(gate) = &composed.gate {
                    object["gate"] = gate.json();
                }
                writeln!(out, "{object}")?;
            }
            (false, 1) => writeln!(out)?,
            (false, _) => writeln!(out, "[{}]\n{}", index + 1, answer.text)?,
        }
    }
    if common.verbose && !common.quiet {
        let tokens: usize = answers.iter().map(|answer| answer.ids.len()).sum();
        eprintln!("{}", run.summary(tokens));
        if let Some(gate) = &composed.gate {
            eprintln!("{gate}");
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    finish: Option<FinishReason>,
}

/// What is said of all answers together.
struct Run {
    prompt_tokens: usize,
    seconds: f64,
    n: usize,
    drafts: Option<SpeculationTotals>,
}

impl Run {
    fn json(&self, index: usize, answer: &Answer) -> serde_json::Value {
        let mut object = json!({
            "text": answer.text,
            "ids": answer.ids,
            "finish_reason": answer.finish.unwrap_or(FinishReason::Length).as_str(),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": answer.ids.len(),
            "tokens_per_second": answer.ids.len() as f64 / self.seconds.max(1e-9),
        });
        if self.n > 1 {
            object["index"] = index.into();
        }
        if let Some(drafts) = &self.drafts {
            object["speculative"] = json!({
                "rounds": drafts.rounds,
                "drafted": drafts.drafted,
                "accepted": drafts.accepted,
                "acceptance_rate": drafts.acceptance_rate(),
            });
        }
        object
    }

    fn summary(&self, tokens: usize) -> String {
        let rate = tokens as f64 / self.seconds;
        let mut summary = format!("{tokens} tokens in {:.2} s, {rate:.1} a second", self.seconds);
        if let Some(SpeculationTotals { rounds, drafted, accepted }) = &self.drafts {
            summary += &format!("; {accepted} of {drafted} drafted tokens accepted in {rounds} passes");
        }
        summary
    }
}

enum Input {
    Text(String),
    Messages(Vec<Message>),
}

fn input(args: &Generate) -> Result<Input> {
    Ok(match (&args.messages, &args.prompt, &args.prompt_file) {
        (Some(path), _, _) => Input::Messages(prompt::read_messages(path)?),
        (None, None, Some(path)) => Input::Text(prompt::read_text(path)?),
        (None, prompt, _) => Input::Text(prompt.clone().unwrap_or_default()),
    })
}
