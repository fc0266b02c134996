//! `ivl chat`: a conversation, on a terminal or line by line from a pipe.

mod command;
mod conversation;
mod lines;

use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use ivl_core::RowWeighted;
use ivl_core::decode::{FinishReason, GenerateConfig, Session};
use serde_json::json;

use self::command::{HELP, Line};
use self::conversation::Conversation;
use self::lines::Lines;
use super::explain;
use crate::args::{self, Common};
use crate::color::is_colored;
use crate::compose::Composed;
use crate::decoding;

pub fn run(args: &args::Chat, common: &Common) -> Result<()> {
    let config = decoding::config(&args.decoding, common)?;
    let composed = Composed::load_gated(&args.models, args.gate, common)?;
    let conversation = Conversation::new(args, &composed)?;
    let config = decoding::ending(config, &args.decoding, &composed);
    let mut lines = Lines::open()?;
    let stopped = Arc::new(AtomicBool::new(false));
    if lines.is_terminal() {
        let stopped = stopped.clone();
        ctrlc::set_handler(move || stopped.store(true, Ordering::Relaxed))
            .context("cannot listen for Ctrl-C")?;
    }
    let mut chat = Chat {
        session: Session::new(&*composed.lm),
        composed,
        conversation,
        config,
        stopped,
        colored: is_colored(args.color),
        json: common.json,
        verbose: common.verbose,
        last: None,
    };
    if lines.is_terminal() && !common.quiet {
        eprintln!("{}\n/help lists the commands, Ctrl-D leaves", chat.models());
    }
    while let Some(line) = lines.next()? {
        match chat.take(&line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if lines.is_terminal() => eprintln!("error: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A conversation and those who hold it.
struct Chat {
    composed: Composed,
    session: Session,
    conversation: Conversation,
    config: GenerateConfig,
    stopped: Arc<AtomicBool>,
    colored: bool,
    json: bool,
    verbose: bool,
    /// The last prompt and its answer, in tokens.
    last: Option<(Vec<u32>, Vec<u32>)>,
}

impl Chat {
    /// Does what a line asks for; `false` to leave.
    fn take(&mut self, line: &str) -> Result<bool> {
        match Line::parse(line) {
            None => {}
            Some(Line::Message(text)) => {
                self.conversation.say(text);
                if let Err(error) = self.answer() {
                    // The message stays unanswered, so it was not said.
                    self.conversation.undo();
                    return Err(error);
                }
            }
            Some(Line::Retry) => {
                if !self.conversation.take_answer() {
                    bail!("there is no answer to write anew");
                }
                // Another draw; greedy answers stay as they are.
                self.config.seed = self.config.seed.wrapping_add(1);
                self.answer()?;
            }
            Some(Line::Undo) => {
                if !self.conversation.undo() {
                    bail!("there is nothing to take back");
                }
                self.last = None;
            }
            Some(Line::Reset) => {
                self.conversation.reset();
                self.last = None;
            }
            Some(Line::System(text)) => self.conversation.set_system(text),
            Some(Line::Explain) => self.explain()?,
            Some(Line::Alphas) => eprintln!("{}", self.models()),
            Some(Line::Alpha(name, alpha)) => {
                self.composed.set_alphas(name.as_deref(), alpha)?;
                // What cascade values read holds only for the weights under which it was read.
                if self.composed.lm.rows().is_ok_and(|lm| lm.num_cascade_values() > 0) {
                    self.session = Session::new(&*self.composed.lm);
                }
            }
            Some(Line::Help) => eprintln!("{HELP}"),
            Some(Line::Wrong(what)) => bail!("{what}"),
            Some(Line::Leave) => return Ok(false),
        }
        Ok(true)
    }

    /// The base, the values and their weights.
    fn models(&self) -> String {
        let value = |value: &crate::compose::Attached| format!(" + {} × {}", value.alpha, value.name);
        self.composed.base_name() + &self.composed.attached.iter().map(value).collect::<String>()
    }

    /// Writes the assistant's turn, until it ends or is stopped.
    fn answer(&mut self) -> Result<()> {
        let prompt = self.conversation.prompt(&self.composed)?;
        self.stopped.store(false, Ordering::Relaxed);
        let (mut ids, mut text, mut finish) = (Vec::new(), String::new(), None);
        let mut out = stdout().lock();
        let writing = self.session.generate(&*self.composed.lm, &prompt, &self.config)?;
        let cached = writing.reused();
        for step in writing {
            let step = step?;
            ids.push(step.token);
            finish = step.finish;
            if !self.json {
                write!(out, "{}", step.text)?;
                out.flush()?;
            }
            text += &step.text;
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
        }
        if self.json {
            let finish = finish.map_or("interrupted", FinishReason::as_str);
            let object = json!({
                "text": text, "ids": ids, "finish_reason": finish, "prompt_tokens": prompt.len(),
                "cached_tokens": cached, "completion_tokens": ids.len(),
            });
            writeln!(out, "{object}")?;
        } else {
            writeln!(out)?;
        }
        if self.verbose {
            eprintln!("{} tokens, {cached} of the prompt's {} were known", ids.len(), prompt.len());
        }
        self.conversation.say(text);
        self.last = Some((prompt, ids));
        Ok(())
    }

    fn explain(&self) -> Result<()> {
        let Some((prompt, answer)) = self.last.as_ref().filter(|(_, answer)| !answer.is_empty()) else {
            bail!("there is no answer to explain");
        };
        explain::answer(
            &mut stdout().lock(),
            &self.composed,
            (prompt, answer),
            self.json,
            (self.colored, self.verbose),
        )
    }
}
