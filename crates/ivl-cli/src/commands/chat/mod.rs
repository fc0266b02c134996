//! `ivl chat`: a conversation, on a terminal or line by line from a pipe.

mod command;
mod conversation;
mod lines;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use ivl::core::decode::Session;
use ivl::models::SamplingDefaults;
use ivl::{AttachedValue, FinishReason, GenerateConfig, MaskedText, Model};
use serde_json::json;

use self::command::{HELP, Line};
use self::conversation::Conversation;
use self::lines::Lines;
use super::explain::{self, Shown};
use crate::args::{self, Common};
use crate::color::is_colored;
use crate::decoding;
use crate::models;
use crate::notes::note;
use crate::output::stdout;

pub fn run(args: &args::Chat, common: &Common) -> Result<()> {
    // A wrong option is refused before a weight is read; the model's defaults decide which have an effect.
    decoding::config(&args.decoding, &SamplingDefaults::default(), &common.quiet())?;
    let mut builder = models::builder(&args.models, args.gate, common)?;
    if !args.plain {
        builder = builder.for_chat();
    }
    let model = models::open(builder, &args.models, common)?;
    let defaults = model.sampling_defaults();
    let config = decoding::config(&args.decoding, &defaults, common)?;
    let conversation = Conversation::new(args, &model)?;
    let mut lines = Lines::open()?;
    let [answering, stopped] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    if lines.is_terminal() {
        let (answering, stopped) = (answering.clone(), stopped.clone());
        ctrlc::set_handler(move || {
            // While nothing is generated the line editor takes Ctrl-C itself, so that this is another signal.
            if !answering.load(Ordering::Relaxed) || stopped.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .context("cannot listen for signals")?;
    }
    let mut chat = Chat {
        session: model.session(),
        model,
        conversation,
        config,
        answering,
        stopped,
        shown: Shown { colored: is_colored(args.color), verbose: common.verbose },
        json: common.json,
        last: None,
    };
    if lines.is_terminal() && !common.quiet {
        note(chat.models());
        if !defaults.is_empty() {
            note(format_args!("generation_config.json: {}", decoding::described(&defaults)));
        }
        note("/help lists the commands, Ctrl-D leaves");
    }
    while let Some(line) = lines.next()? {
        match chat.take(&line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if lines.is_terminal() => note(format_args!("error: {error:#}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A conversation and those who hold it.
struct Chat {
    model: Model,
    session: Session,
    conversation: Conversation,
    config: GenerateConfig,
    /// Whether an answer is being generated.
    answering: Arc<AtomicBool>,
    /// Whether a signal stops it.
    stopped: Arc<AtomicBool>,
    shown: Shown,
    json: bool,
    /// The last prompt and its answer, in tokens.
    last: Option<(Vec<u32>, Vec<u32>)>,
}

impl Chat {
    /// Executes a line; `false` to quit.
    fn take(&mut self, line: &str) -> Result<bool> {
        match Line::parse(line) {
            None => {}
            Some(Line::Message(text)) => {
                self.conversation.say(text);
                if let Err(error) = self.answer_until_stopped() {
                    // The message stays unanswered, so it is removed.
                    self.conversation.undo();
                    return Err(error);
                }
            }
            Some(Line::Retry) => {
                if !self.conversation.take_answer() {
                    bail!("there is no answer to generate again");
                }
                // Another draw; greedy answers stay as they are.
                self.config.seed = self.config.seed.wrapping_add(1);
                self.answer_until_stopped()?;
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
            Some(Line::Alphas) => note(self.models()),
            Some(Line::Alpha(name, alpha)) => {
                self.set_alpha(name.as_deref(), alpha)?;
            }
            Some(Line::Help) => note(HELP),
            Some(Line::Wrong(what)) => bail!("{what}"),
            Some(Line::Leave) => return Ok(false),
        }
        Ok(true)
    }

    /// The base, the values and their weights.
    fn models(&self) -> String {
        let value = |value: &AttachedValue| format!(" + {} × {}", value.alpha(), value.name());
        self.model.base_name() + &self.model.values().iter().map(value).collect::<String>()
    }

    /// Changes the weight of the value of a name, or of all.
    fn set_alpha(&mut self, name: Option<&str>, alpha: f64) -> Result<()> {
        let all = || self.model.values().iter().map(|value| value.name().to_owned()).collect();
        let names: Vec<String> = name.map_or_else(all, |name| vec![name.to_owned()]);
        if names.is_empty() {
            bail!("no value is attached; begin with --value");
        }
        for name in names {
            self.model.set_alpha(&name, alpha)?;
        }
        // Cached state of cascade values is valid only for the weight it was computed with.
        if self.model.has_cascade_values() {
            self.session = self.model.session();
        }
        Ok(())
    }

    /// Writes the assistant's turn; a signal stops it.
    fn answer_until_stopped(&mut self) -> Result<()> {
        self.stopped.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        let answered = self.answer();
        self.answering.store(false, Ordering::Relaxed);
        answered
    }

    fn answer(&mut self) -> Result<()> {
        let prompt = self.conversation.prompt(&self.model)?;
        let config = self.model.with_end_tokens(&self.config);
        let (mut ids, mut text, mut finish) = (Vec::new(), String::new(), None);
        let mut out = stdout();
        let writing = self.session.generate(self.model.lm(), &prompt, &config)?;
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
        if self.shown.verbose {
            note(format_args!("{} tokens, {cached} of the prompt's {} were known", ids.len(), prompt.len()));
        }
        self.conversation.say(text);
        self.last = Some((prompt, ids));
        Ok(())
    }

    fn explain(&self) -> Result<()> {
        let Some((prompt, answer)) = self.last.as_ref().filter(|(_, answer)| !answer.is_empty()) else {
            bail!("there is no answer to explain");
        };
        let target = MaskedText::answer(prompt, answer);
        explain::answer(&mut stdout(), &self.model, target, self.shown, self.json)
    }
}
