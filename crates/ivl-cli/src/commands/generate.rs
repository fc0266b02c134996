//! `ivl generate`: streams text.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use ivl_core::{FinishReason, generate};
use ivl_models::Message;
use serde_json::json;

use crate::args::{Common, Generate};
use crate::compose::Composed;
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
    let prompts = vec![prompt.clone(); args.n];
    let mut answers = vec![Answer::default(); args.n];
    let began = Instant::now();
    let mut out = std::io::stdout().lock();
    for step in generate(&*composed.lm, &prompts, &config)? {
        let step = step?;
        let answer = &mut answers[step.row];
        answer.ids.push(step.token);
        answer.text.push_str(&step.text);
        answer.finish = step.finish;
        if !common.json && args.n == 1 {
            write!(out, "{}", step.text)?;
            out.flush()?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    for (index, answer) in answers.iter().enumerate() {
        match (common.json, args.n) {
            (true, _) => {
                let mut object = answer.json(index, prompt.len(), seconds, args.n);
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
        eprintln!("{tokens} tokens in {seconds:.2} s, {:.1} a second", tokens as f64 / seconds);
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

impl Answer {
    fn json(&self, index: usize, prompt_tokens: usize, seconds: f64, n: usize) -> serde_json::Value {
        let mut object = json!({
            "text": self.text,
            "ids": self.ids,
            "finish_reason": self.finish.unwrap_or(FinishReason::Length).as_str(),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self.ids.len(),
            "tokens_per_second": self.ids.len() as f64 / seconds.max(1e-9),
        });
        if n > 1 {
            object["index"] = index.into();
        }
        object
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
