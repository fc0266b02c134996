//! The display of a study in progress: one bar per base.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ivl::transfer::StudyEvent;

use crate::args::Common;
use crate::commands::train::{Display, Voice};
use crate::notes::note;
use crate::progress::bar;

/// Shows the events of a study.
pub struct StudyDisplay {
    common: Common,
    data: PathBuf,
    bar: Option<ProgressBar>,
    training: Display,
}

impl StudyDisplay {
    /// A display that shows nothing yet, of a study on some data.
    pub fn new(data: &Path, common: &Common) -> Self {
        Self { common: common.clone(), data: data.to_owned(), bar: None, training: Display::new(common) }
    }

    /// Prints lines without getting in the way of a bar, from any thread.
    pub fn voice(&self) -> Voice {
        self.training.voice()
    }

    /// Shows an event.
    pub fn show(&mut self, event: StudyEvent) {
        match event {
            StudyEvent::RowsLeftOut { rows } => self.note(&format!(
                "{rows} rows of `{}` were left out: no answer, or longer than a model's context",
                self.data.display()
            )),
            StudyEvent::Base { name, total } => {
                let bar = bar(&self.common, total as u64, "{prefix:14} {bar:30} {percent:>3}%  {msg}");
                bar.set_prefix(name);
                self.bar = Some(bar);
            }
            StudyEvent::Progress { what, done } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(what);
                    bar.set_position(done as u64);
                }
            }
            StudyEvent::BaseMeasured => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            StudyEvent::FineTuning { base, seed, .. } => {
                self.note(&format!("fine-tuning {base} by itself, seed {seed}"));
            }
            StudyEvent::Training(event) => self.training.show(&event),
            _ => {}
        }
    }

    fn note(&self, line: &str) {
        if !self.common.quiet {
            note(line);
        }
    }
}
