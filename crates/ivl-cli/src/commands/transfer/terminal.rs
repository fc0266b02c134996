//! The study on a terminal.

use std::io::Write;

use anyhow::Result;
use ivl::eval::transfer::Transfer;

use crate::args::Color;
use crate::color::is_colored;
use crate::output::stdout;
use ivl::eval::transfer::report::{Table, tables};

/// Widest line of text.
pub const WIDTH: usize = 78;

/// Prints the tables and the verdict.
pub fn show(transfer: &Transfer) -> Result<()> {
    let mut out = stdout();
    for table in tables(transfer) {
        show_table(&mut out, &table)?;
    }
    let [bold, plain] = bold();
    for line in wrapped(&transfer.verdict.text, WIDTH) {
        writeln!(out, "{bold}{line}{plain}")?;
    }
    writeln!(out, "Recommended alpha: {}", transfer.verdict.alpha)?;
    Ok(())
}

/// Prints one table with its title and note.
pub fn show_table(out: &mut impl Write, table: &Table) -> Result<()> {
    let [bold, plain] = bold();
    writeln!(out, "{bold}{}{plain}", table.title)?;
    for line in wrapped(&table.note, WIDTH) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\n{}", indented(&table.plain()))?;
    Ok(())
}

fn indented(text: &str) -> String {
    let line = |line: &str| format!("  {line}\n");
    text.lines().map(line).collect()
}

/// Bold, on terminals with colours enabled.
pub fn bold() -> [&'static str; 2] {
    if is_colored(Color::Auto) { ["\x1b[1m", "\x1b[0m"] } else { ["", ""] }
}

/// Lines of at most `width` characters, broken at spaces.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
