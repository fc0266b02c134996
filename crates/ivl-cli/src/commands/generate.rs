//! `ivl generate`: streams text.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ivl_core::{FinishReason, GenerateConfig, SamplingConfig, Step, Totals, generate, speculate};
use ivl_models::{Message, RenderOptions};
use serde_json::json;

use crate::args::{Common, Generate};
use crate::compose::Composed;
use crate::draft::speculation;

/// Largest prompt or message file that is read.
const LARGEST_INPUT: u64 = 64 << 20;

pub fn run(args: &Generate, common: &Common) -> Result<()> {
    let config = config(args, common)?;
    let input = input(args)?;
    let composed = Composed::load(&args.models, common)?;
    let prompt = encode(&input, &composed)?;
    let end_tokens = if args.ignore_eos { Vec::new() } else { composed.end_tokens.clone() };
    let config = GenerateConfig { end_tokens, ..config };
    let speculation = speculation(&args.drafts, &composed.lm, common)?;
    let prompts = vec![prompt.clone(); args.n];
    let mut answers = vec![Answer::default(); args.n];
    let mut out = std::io::stdout().lock();
    let mut take = |step: Step| -> Result<()> {
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
        let mut texts = speculate(&composed.lm, speculation, &prompts, &config)?;
        texts.by_ref().try_for_each(|step| take(step?))?;
        drafts = Some(texts.totals());
    } else {
        generate(&composed.lm, &prompts, &config)?.try_for_each(|step| take(step?))?;
    }
    let run = Run { prompt_tokens: prompt.len(), seconds: began.elapsed().as_secs_f64(), n: args.n, drafts };
    for (index, answer) in answers.iter().enumerate() {
        match (common.json, args.n) {
            (true, _) => writeln!(out, "{}", run.json(index, answer))?,
            (false, 1) => writeln!(out)?,
            (false, _) => writeln!(out, "[{}]\n{}", index + 1, answer.text)?,
        }
    }
    if common.verbose && !common.quiet {
        let tokens: usize = answers.iter().map(|answer| answer.ids.len()).sum();
        eprintln!("{}", run.summary(tokens));
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
    drafts: Option<Totals>,
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
        if let Some(Totals { rounds, drafted, accepted }) = &self.drafts {
            summary += &format!("; {accepted} of {drafted} drafted tokens accepted in {rounds} passes");
        }
        summary
    }
}

fn config(args: &Generate, common: &Common) -> Result<GenerateConfig> {
    if args.n == 0 {
        bail!("--n is 0, expected at least 1");
    }
    let bias = |text: &String| -> Result<(u32, f32)> {
        let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
        parsed.with_context(|| format!("--logit-bias is `{text}`, expected ID=NUMBER"))
    };
    let sampling = SamplingConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        frequency_penalty: args.frequency_penalty,
        presence_penalty: args.presence_penalty,
        logit_bias: args.logit_bias.iter().map(bias).collect::<Result<_>>()?,
    };
    sampling.validate()?;
    Ok(GenerateConfig {
        max_new_tokens: args.max_new_tokens,
        sampling,
        seed: common.seed.unwrap_or(0),
        end_tokens: Vec::new(),
        stop_strings: args.stop.clone(),
    })
}

enum Input {
    Prompt(String),
    Messages(Vec<Message>),
}

fn input(args: &Generate) -> Result<Input> {
    if let Some(path) = &args.messages {
        let messages: Vec<Message> = serde_json::from_str(&read(path)?).with_context(|| {
            format!("`{}` is not a JSON list of messages with role and content", path.display())
        })?;
        if messages.is_empty() {
            bail!("`{}` holds no message", path.display());
        }
        return Ok(Input::Messages(messages));
    }
    Ok(Input::Prompt(match (&args.prompt, &args.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => String::new(),
    }))
}

fn read(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    if size > LARGEST_INPUT {
        bail!("`{}` has {size} bytes, more than the {LARGEST_INPUT} that ivl reads", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}` as UTF-8 text", path.display()))
}

fn encode(input: &Input, composed: &Composed) -> Result<Vec<u32>> {
    let ids = match input {
        Input::Prompt(prompt) if prompt.is_empty() => {
            bail!("the prompt is empty: give some text with --prompt, --prompt-file or --messages")
        }
        Input::Prompt(prompt) => {
            composed.check(prompt)?;
            composed.tokenizer.encode(prompt, true)?
        }
        Input::Messages(messages) => {
            let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
            let text = composed.chat_template()?.render(messages, &options)?;
            composed.check(&text)?;
            composed.tokenizer.encode(&text, false)?
        }
    };
    Ok(ids)
}
