//! Whether output has colours.

use std::io::IsTerminal;

use crate::args::Color;

/// By `--color`; `auto` has them on a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>).
pub fn is_colored(color: Color) -> bool {
    let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal() && !unwanted(),
    }
}
