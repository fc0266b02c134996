//! The display of a run: a bar on a terminal, or plain lines.

use indicatif::ProgressBar;
use ivl::TrainEvent;
use ivl::train::{EvalReport, Event, SourceReport, StepReport};

use crate::args::Common;
use crate::notes::note;
use crate::progress::bar;

/// Plain lines of a run, if there is no terminal.
const LINES: usize = 20;

/// The state of the bar. Rates and remaining time are of this process.
const DISPLAY: &str = "{bar:20} {pos}/{len} steps  {left} left  {wide_msg}";

/// Shows the events of a run.
pub struct Display {
    common: Common,
    /// The steps.
    bar: ProgressBar,
    /// The phase before the steps.
    before: Option<ProgressBar>,
    /// Whether plain lines replace the bar.
    lines: bool,
    /// Steps between two plain lines.
    every: usize,
}

/// Prints lines above the bar, or plain ones; none if the run is to be quiet.
#[derive(Clone)]
pub struct Voice {
    bar: ProgressBar,
    lines: bool,
}

impl Voice {
    /// Prints a line.
    pub fn say(&self, line: &str) {
        if self.lines { note(line) } else { self.bar.println(line) }
    }
}

impl Display {
    /// A display that shows nothing yet.
    pub fn new(common: &Common) -> Self {
        let bar = bar(common, 0, DISPLAY);
        let lines = bar.is_hidden() && !common.quiet;
        Self { common: common.clone(), bar, before: None, lines, every: 1 }
    }

    /// Prints lines without getting in the way of the bar, from any thread.
    pub fn voice(&self) -> Voice {
        Voice { bar: self.bar.clone(), lines: self.lines }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &TrainEvent) {
        match event {
            TrainEvent::Tokenizing { rows, done } => {
                self.progress(*rows, 0, *done, "tokenizing {human_pos} rows");
            }
            TrainEvent::Tokenized { setting, reports, max_length } => {
                for report in reports.iter().filter(|report| lost(report) > 0) {
                    self.note(&format!("{setting}: {}", lost_rows(report, *max_length)));
                }
            }
            TrainEvent::BaseLogits { done, total } => {
                let template = "logits {bar:30} {pos}/{len} examples, {left} left";
                self.progress(*done as u64, *total as u64, done == total, template);
            }
            TrainEvent::BaseLogitsWritten { base, tokens, top_k, mean_kl, largest_kl } => self.note(&format!(
                "wrote logits of {base} for {tokens} tokens; what the {top_k} kept ids leave out is {mean_kl:.2e} nats a \
                 token, at most {largest_kl:.2e}"
            )),
            TrainEvent::TeacherLogitsWritten { teacher, tokens, top_k, mean_rest } => {
                let kept = match top_k {
                    0 => "whole distributions".to_owned(),
                    k => format!("the {k} most probable ids, which hold {:.2}% of the probability", 100.0 * (1.0 - mean_rest)),
                };
                self.note(&format!("wrote predictions of {teacher} for {tokens} tokens: {kept}"));
            }
            TrainEvent::Run(event) => self.show_run(event),
            _ => {}
        }
    }

    fn show_run(&mut self, event: &Event) {
        match event {
            Event::Start { done, total } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                self.bar.reset_eta();
                self.every = total.div_ceil(LINES).max(1);
            }
            Event::Step(step) => {
                self.bar.set_position(step.step as u64);
                self.bar.set_message(step_message(step));
                if self.lines && step.step % self.every == 0 {
                    note(format_args!("step {:>6}  {}", step.step, step_message(step)));
                }
            }
            Event::Eval(eval) => self.voice().say(&eval_line(eval)),
            Event::CorruptCheckpoint { path, reason } => {
                let line = format!("skipped the corrupt checkpoint `{}`: {reason}", path.display());
                self.voice().say(&line);
            }
            Event::StoppedEarly { step, best } => {
                let best = best.as_ref().map_or(String::new(), |best| {
                    format!("; it was lowest, {:.4}, after step {}", best.loss, best.step)
                });
                let line = format!("stopped after step {step}: the held-out loss no longer falls{best}");
                self.voice().say(&line);
            }
            Event::Checkpoint { .. } => {}
        }
    }

    /// Shows how far something that comes before the steps has come.
    fn progress(&mut self, done: u64, total: u64, finished: bool, template: &str) {
        let before = self.before.get_or_insert_with(|| bar(&self.common, total, template));
        before.set_position(done);
        if finished {
            before.finish_and_clear();
            self.before = None;
        }
    }

    fn note(&self, line: &str) {
        if !self.common.quiet {
            note(line);
        }
    }
}

/// Rows of a source that are not trained on, in part or as a whole.
fn lost(report: &SourceReport) -> usize {
    report.truncated + report.dropped + report.too_long + report.skipped
}

/// Their description.
pub fn lost_rows(report: &SourceReport, max_length: usize) -> String {
    let mut text = format!(
        "{} of {} rows of `{}` were truncated to {max_length} tokens ({} tokens lost), {} had no trained token left and were left out",
        report.truncated,
        report.rows,
        report.path.display(),
        report.cut,
        report.dropped
    );
    if report.too_long > 0 {
        text += &format!(", {} are longer and were left out", report.too_long);
    }
    if let Some(error) = &report.first_error {
        text += &format!(", {} were skipped, the first because {error}", report.skipped);
    }
    text
}

/// The most important part comes first: a narrow terminal truncates the end.
fn step_message(step: &StepReport) -> String {
    let pairs = pair_figures(step.accuracy, step.margin);
    format!(
        "loss {:.4}{pairs}  lr {:.2e}  {:.0} trained tokens/s  |v| {:.4}  gradient {:.3}",
        step.loss, step.learning_rate, step.tokens_per_second, step.value_norm, step.gradient_norm
    )
}

/// What is known of pairs besides their loss, as text.
fn pair_figures(accuracy: Option<f64>, margin: Option<f64>) -> String {
    match (accuracy, margin) {
        (Some(accuracy), Some(margin)) => format!("  accuracy {:.1}%  margin {margin:.4}", 100.0 * accuracy),
        _ => String::new(),
    }
}

/// A held-out loss, as text.
pub fn eval_line(eval: &EvalReport) -> String {
    let base = eval.base.as_deref().unwrap_or("the model");
    let losses = match eval.base_loss {
        Some(alone) => format!("alone {alone:.4}, with the value {:.4}", eval.loss),
        None => format!("{:.4}", eval.loss),
    };
    let pairs = pair_figures(eval.accuracy, eval.margin);
    format!("step {:>6}  held out: {base} {losses}{pairs}", eval.step)
}
