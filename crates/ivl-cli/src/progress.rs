//! Progress bars on standard error, and only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::args::Common;

/// A bar of `total` steps; hidden without a terminal.
pub fn bar(common: &Common, total: u64, template: &str) -> ProgressBar {
    let watched = !common.quiet && std::io::stderr().is_terminal();
    let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("left", remaining).progress_chars("━╸ "));
    }
    bar
}

/// The remaining time, once there is a rate to tell it by.
fn remaining(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let known = state.per_sec() > 0.0 && state.eta() > Duration::ZERO;
    let _ = match known || state.fraction() >= 1.0 {
        true => write!(out, "{:#}", HumanDuration(state.eta())),
        false => write!(out, "?"),
    };
}
