//! Signals (Ctrl-C, SIGTERM, SIGHUP) and the run in progress.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use anyhow::{Context, Result};
use ivl::train::Interrupter;

use super::display::Voice;

/// The run that a signal stops; without one the process ends.
static RUNNING: Mutex<Option<(Interrupter, Voice)>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<(Interrupter, Voice)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that stops after its step at the first signal, and at once at the second. Runs follow one another.
pub struct Stoppable(());

impl Stoppable {
    pub fn on_signals(interrupter: &Interrupter, voice: Voice) -> Result<Self> {
        static LISTENING: Once = Once::new();
        let mut listening = Ok(());
        LISTENING.call_once(|| listening = ctrlc::set_handler(stop));
        listening.context("cannot listen for signals")?;
        *running() = Some((interrupter.clone(), voice));
        Ok(Self(()))
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        *running() = None;
    }
}

fn stop() {
    match &*running() {
        Some((interrupter, voice)) if !interrupter.should_stop() => {
            voice.say("stopping after this step; another signal stops at once");
            interrupter.stop(Some("a signal"));
        }
        _ => std::process::exit(130),
    }
}
