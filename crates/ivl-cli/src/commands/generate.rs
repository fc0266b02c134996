//! `ivl generate`: streams text.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use ivl::core::decode::{GeneratedToken, SpeculationTotals};
use ivl::core::fusion::GateCounts;
use ivl::models::SamplingDefaults;
use ivl::{FinishReason, Message, Model};
use serde_json::json;

use crate::args::{Common, Generate};
use crate::decoding;
use crate::models;
use crate::notes::note;
use crate::output::{Output, stdout};
use crate::prompt_files::{read_messages, read_prompt};

pub fn run(args: &Generate, common: &Common) -> Result<()> {
    if args.n == 0 {
        bail!("--n is 0, expected at least 1");
    }
    let config = decoding::config(&args.decoding, &SamplingDefaults::default(), common)?;
    if args.n > 1 && config.sampling.temperature == 0.0 && !common.quiet {
        note("note: at temperature 0 all answers are the same; give --temperature too");
    }
    let (input, drafts) = (input(args)?, models::drafts(&args.drafts)?);
    let mut builder = models::builder(&args.models, args.gate, common)?;
    if let Some(drafts) = &drafts {
        builder = builder.for_drafts(drafts.clone());
    }
    if let Input::Messages(_) = input {
        builder = builder.for_chat();
    }
    let prepared = builder.prepare()?;
    let prompt = match &input {
        Input::Text(text) => prepared.reader().encode_prompt(text)?,
        Input::Messages(messages) => {
            let reader = prepared.reader();
            reader.encode_chat(messages, &reader.chat_template()?)?
        }
    };
    let model = models::load(prepared, &args.models, common)?;
    let speculation = drafts.map(|drafts| model.speculation(&drafts)).transpose()?;
    let prompts = vec![prompt.clone(); args.n];
    let mut answers = Answers::new(args.n, args.n == 1 && !common.json);
    let began = Instant::now();
    let mut drafts = None;
    if let Some(speculation) = speculation {
        let mut texts = model.speculate(speculation, &prompts, &config)?;
        texts.by_ref().try_for_each(|token| answers.take(token?))?;
        drafts = Some(texts.totals());
    } else {
        model.stream_tokens(&prompts, &config)?.try_for_each(|token| answers.take(token?))?;
    }
    let run = Run {
        prompt_tokens: prompt.len(),
        seconds: began.elapsed().as_secs_f64(),
        n: args.n,
        drafts,
        drawn_seed: (common.seed.is_none() && config.sampling.temperature > 0.0).then_some(config.seed),
    };
    let tokens = answers.print(&run, &model, common)?;
    if common.verbose && !common.quiet {
        note(run.summary(tokens));
        if let Some((gate, counts)) = model.gate().zip(model.gate_counts()) {
            let GateCounts { positions, consulted, base_passes, value_passes } = counts;
            note(format_args!(
                "{gate}: values consulted at {consulted} of {positions} tokens, in {value_passes} passes for \
                 {base_passes} of the base"
            ));
        }
    }
    Ok(())
}

/// The counts of the gate, as JSON.
fn gate_json(model: &Model) -> Option<serde_json::Value> {
    let (gate, counts) = model.gate().zip(model.gate_counts())?;
    let GateCounts { positions, consulted, base_passes, value_passes } = counts;
    Some(json!({
        "gate": gate.to_string(), "positions": positions, "consulted": consulted,
        "skipped": positions - consulted, "base_passes": base_passes, "value_passes": value_passes,
    }))
}

/// The answers as they come.
struct Answers {
    rows: Vec<Answer>,
    out: Output,
    /// Whether text is printed as it comes.
    streamed: bool,
}

impl Answers {
    fn new(n: usize, streamed: bool) -> Self {
        Self { rows: vec![Answer::default(); n], out: stdout(), streamed }
    }

    fn take(&mut self, token: GeneratedToken) -> Result<()> {
        let answer = &mut self.rows[token.row];
        answer.ids.push(token.token);
        answer.text.push_str(&token.text);
        answer.finish = token.finish;
        if self.streamed {
            write!(self.out, "{}", token.text)?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Prints what was not streamed; the number of tokens.
    fn print(&mut self, run: &Run, model: &Model, common: &Common) -> Result<usize> {
        for (index, answer) in self.rows.iter().enumerate() {
            if common.json {
                let mut object = run.json(index, answer);
                if let Some(gate) = gate_json(model) {
                    object["gate"] = gate;
                }
                writeln!(self.out, "{object}")?;
            } else if self.streamed {
                writeln!(self.out)?;
            } else {
                writeln!(self.out, "[{}]\n{}", index + 1, answer.text)?;
            }
        }
        Ok(self.rows.iter().map(|answer| answer.ids.len()).sum())
    }
}

#[derive(Debug, Clone, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    finish: Option<FinishReason>,
}

/// The summary of all answers.
struct Run {
    prompt_tokens: usize,
    seconds: f64,
    n: usize,
    drafts: Option<SpeculationTotals>,
    /// The seed, if none was given and one was needed.
    drawn_seed: Option<u64>,
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
        if let Some(seed) = self.drawn_seed {
            object["seed"] = seed.into();
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
        if let Some(seed) = self.drawn_seed {
            summary += &format!("; seed {seed}");
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
        (Some(path), _, _) => Input::Messages(read_messages(path)?),
        (None, None, Some(path)) => Input::Text(read_prompt(path)?),
        (None, prompt, _) => Input::Text(prompt.clone().unwrap_or_default()),
    })
}
