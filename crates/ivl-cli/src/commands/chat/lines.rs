//! Where lines come from: a line editor on a terminal, else standard input.

use std::io::{BufRead, IsTerminal, StdinLock, stdin};

use anyhow::{Context, Result};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

/// Longest line that is read from a file or pipe.
const LONGEST_LINE: u64 = 1 << 20;

const PROMPT: &str = ">>> ";
const MORE: &str = "... ";

/// The result of reading one line.
enum Read {
    Line(String),
    /// The current input is discarded.
    Cancelled,
    End,
}

pub enum Lines {
    Terminal(Box<Editor<(), MemHistory>>),
    Pipe(StdinLock<'static>),
}

impl Lines {
    pub fn open() -> Result<Self> {
        if !stdin().is_terminal() {
            return Ok(Self::Pipe(stdin().lock()));
        }
        let config = Config::builder().auto_add_history(false).build();
        let editor =
            Editor::with_history(config, MemHistory::new()).context("cannot read from the terminal")?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// Whether somebody sits there.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line with its continuation lines; `None` at the end.
    pub fn next(&mut self) -> Result<Option<String>> {
        let mut whole = String::new();
        loop {
            let line = match self.read(if whole.is_empty() { PROMPT } else { MORE })? {
                Read::Line(line) => line,
                Read::Cancelled => return Ok(Some(String::new())),
                Read::End => return Ok(Some(whole).filter(|whole| !whole.is_empty())),
            };
            let Some(begun) = line.strip_suffix('\\') else {
                whole += &line;
                break;
            };
            whole.extend([begun, "\n"]);
        }
        if let Self::Terminal(editor) = self
            && !whole.trim().is_empty()
        {
            editor.add_history_entry(&whole).context("cannot keep the history")?;
        }
        Ok(Some(whole))
    }

    fn read(&mut self, prompt: &str) -> Result<Read> {
        match self {
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Read::Line(line)),
                Err(ReadlineError::Interrupted) => Ok(Read::Cancelled),
                Err(ReadlineError::Eof) => Ok(Read::End),
                Err(error) => Err(error).context("cannot read from the terminal"),
            },
            Self::Pipe(input) => {
                let mut bytes = Vec::new();
                let read = std::io::Read::take(&mut *input, LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
                let read = read.context("cannot read standard input")?;
                if read as u64 > LONGEST_LINE {
                    anyhow::bail!("a line of standard input is longer than {LONGEST_LINE} bytes");
                }
                let line = String::from_utf8(bytes).context("standard input is not UTF-8 text")?;
                let ended = read == 0;
                Ok(if ended { Read::End } else { Read::Line(line.trim_end_matches(['\n', '\r']).to_owned()) })
            }
        }
    }
}
