//! Input: messages, and commands that begin with a slash.

/// A line that was typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Message(String),
    /// Show the weights.
    Alphas,
    /// Change the weight of one value, or of all.
    Alpha(Option<String>, f64),
    Explain,
    Reset,
    /// Change the system's message; nothing takes it away.
    System(String),
    Undo,
    Retry,
    Help,
    Leave,
    /// An unknown or malformed command, with the expected form.
    Wrong(String),
}

pub const HELP: &str = "\
/alpha          show the values and their weights
/alpha X        give all values the weight X
/alpha NAME X   give one value the weight X
/explain        the last answer in the colours of what the values changed
/retry          write the last answer anew
/undo           take back the last message and its answer
/system TEXT    set the system's message; without TEXT there is none
/reset          forget the conversation
/exit           leave, as Ctrl-D does
A line that ends with \\ goes on in the next one; // begins a message with a slash. Ctrl-C stops an answer.";

impl Line {
    /// Reads a line; `None` if it is blank.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        let Some(command) = line.strip_prefix('/') else { return Some(Self::Message(line.to_owned())) };
        if command.starts_with('/') {
            return Some(Self::Message(command.to_owned()));
        }
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        Some(match (word, rest) {
            ("alpha", rest) => alpha(rest),
            ("system", text) => Self::System(text.to_owned()),
            ("explain", "") => Self::Explain,
            ("reset" | "clear", "") => Self::Reset,
            ("undo", "") => Self::Undo,
            ("retry", "") => Self::Retry,
            ("help" | "?", "") => Self::Help,
            ("exit" | "quit" | "bye", "") => Self::Leave,
            ("explain" | "reset" | "clear" | "undo" | "retry" | "help" | "exit" | "quit", _) => {
                Self::Wrong(format!("/{word} takes no argument"))
            }
            _ => Self::Wrong(format!("there is no command /{word}; /help lists them")),
        })
    }
}

fn alpha(rest: &str) -> Line {
    if rest.is_empty() {
        return Line::Alphas;
    }
    let (name, number) =
        rest.rsplit_once(char::is_whitespace).map_or((None, rest), |(name, number)| (Some(name), number));
    match number.parse::<f64>() {
        Ok(alpha) if alpha.is_finite() => Line::Alpha(name.map(|name| name.trim().to_owned()), alpha),
        _ => {
            Line::Wrong(format!("/alpha expects a number, as in /alpha 0.5 or /alpha NAME 0.5, got `{rest}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let parse = |line| Line::parse(line).expect("not blank");
        assert_eq!(Line::parse("  \t"), None);
        assert_eq!(parse(" hello /alpha "), Line::Message("hello /alpha".to_owned()));
        assert_eq!(parse("//alpha 1"), Line::Message("/alpha 1".to_owned()));
        assert_eq!(parse("/alpha"), Line::Alphas);
        assert_eq!(parse("/alpha -0.5"), Line::Alpha(None, -0.5));
        assert_eq!(parse("/alpha my value  2"), Line::Alpha(Some("my value".to_owned()), 2.0));
        assert_eq!(parse("/system be brief"), Line::System("be brief".to_owned()));
        assert_eq!(parse("/quit"), Line::Leave);
        for wrong in ["/alpha x", "/alpha NAME inf", "/undo 2", "/nothing", "/"] {
            assert!(matches!(parse(wrong), Line::Wrong(_)), "{wrong}");
        }
    }
}
