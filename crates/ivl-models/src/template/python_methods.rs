//! The methods of Python's strings, lists and dictionaries that templates call.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::python::{is_printable, python_str};

/// A method of a value. What is not here is `pycompat`'s, which knows the rest.
pub(super) fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq if method == "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let position = value.try_iter()?.position(|item| item == *wanted);
            Some(position.map(Value::from).ok_or_else(|| failed(format!("{wanted} is not in list")))?)
        }
        ValueKind::Seq | ValueKind::Map if method == "copy" => Some(value.clone()),
        _ => None,
    };
    match found {
        Some(value) => Ok(value),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The arguments of a call, by position or name.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Kwargs,
}

impl Arguments {
    fn read(args: &[Value]) -> Result<Self, Error> {
        let (Rest(positional), named): (Rest<Value>, Kwargs) = from_args(args)?;
        Ok(Self::new(positional, named))
    }

    pub(super) fn new(positional: Vec<Value>, named: Kwargs) -> Self {
        Self { positional, named }
    }

    pub(super) fn get(&self, position: usize, name: &str) -> Result<Option<Value>, Error> {
        let value = match self.positional.get(position) {
            Some(value) => Some(value.clone()),
            None => self.named.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    }

    pub(super) fn text(&self, position: usize, name: &str) -> Result<Option<String>, Error> {
        let text = |value: Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| failed(format!("`{name}` must be a string")))
        };
        self.get(position, name)?.map(text).transpose()
    }

    fn required(&self, position: usize, name: &str) -> Result<String, Error> {
        self.text(position, name)?
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("`{name}` is missing")))
    }

    pub(super) fn flag(&self, position: usize, name: &str) -> Result<bool, Error> {
        Ok(self.get(position, name)?.is_some_and(|value| value.is_true()))
    }

    pub(super) fn integer(&self, position: usize, name: &str) -> Result<Option<i64>, Error> {
        self.get(position, name)?.map(i64::try_from).transpose()
    }
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let arguments = Arguments::read(args)?;
    let args = &arguments;
    Ok(Some(match method {
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "removeprefix" => text.strip_prefix(args.required(0, "prefix")?.as_str()).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(args.required(0, "suffix")?.as_str()).unwrap_or(text).into(),
        "partition" => {
            let separator = args.required(0, "sep")?;
            match text.split_once(separator.as_str()) {
                Some((before, after)) => triple(before, &separator, after),
                None => triple(text, "", ""),
            }
        }
        "rpartition" => {
            let separator = args.required(0, "sep")?;
            match text.rsplit_once(separator.as_str()) {
                Some((before, after)) => triple(before, &separator, after),
                None => triple("", "", text),
            }
        }
        "ljust" | "rjust" | "center" | "zfill" => pad(text, method, args)?.into(),
        "join" => {
            let items = args.get(0, "iterable")?.ok_or_else(|| failed("join needs a list"))?;
            let texts: Vec<String> = items.try_iter()?.map(|item| python_str(&item)).collect();
            texts.join(text).into()
        }
        _ => return Ok(search_method(text, method, args)?.or(letter_method(text, method, args)?)),
    }))
}

/// Methods that look for a part of a text.
fn search_method(text: &str, method: &str, args: &Arguments) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "find" | "rfind" | "index" | "rindex" => {
            let at = find(text, args, method.starts_with('r'))?;
            if at.is_none() && method.ends_with("index") {
                return Err(failed("substring not found"));
            }
            Value::from(at.map_or(-1, |at| at as i64))
        }
        "count" => {
            let (from, to) = bounds(text, args)?;
            let wanted = args.required(0, "sub")?;
            let inside = text.get(from..to.max(from)).unwrap_or_default();
            let count = if wanted.is_empty() {
                inside.chars().count() + 1
            } else {
                inside.matches(wanted.as_str()).count()
            };
            Value::from(count)
        }
        "startswith" | "endswith" => {
            let (from, to) = bounds(text, args)?;
            let inside = text.get(from..to.max(from)).unwrap_or_default();
            let wanted = args.get(0, "prefix")?.ok_or_else(|| failed(format!("{method} needs a string")))?;
            let wanted: Vec<Value> =
                if wanted.kind() == ValueKind::String { vec![wanted] } else { wanted.try_iter()?.collect() };
            let is_there = |part: &Value| {
                let part = part.as_str().ok_or_else(|| failed(format!("{method} takes strings")))?;
                Ok::<bool, Error>(if method == "startswith" {
                    inside.starts_with(part)
                } else {
                    inside.ends_with(part)
                })
            };
            Value::from(wanted.iter().map(is_there).collect::<Result<Vec<_>, _>>()?.contains(&true))
        }
        _ => return Ok(None),
    }))
}

/// Methods that change or judge every letter.
fn letter_method(text: &str, method: &str, args: &Arguments) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "swapcase" => text.chars().map(swap_case).collect::<String>().into(),
        "casefold" => text.to_lowercase().replace('ß', "ss").into(),
        "title" => title(text).into(),
        "capitalize" => capitalize(text).into(),
        "expandtabs" => expand_tabs(text, args.integer(0, "tabsize")?.unwrap_or(8).max(0) as usize).into(),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit())),
        "isprintable" => Value::from(text.chars().all(is_printable)),
        "isidentifier" => {
            let starts = text.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
            Value::from(starts && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_'))
        }
        "istitle" => Value::from(text.chars().any(char::is_alphabetic) && title(text) == text),
        _ => return Ok(None),
    }))
}

fn triple(a: &str, b: &str, c: &str) -> Value {
    [a, b, c].into_iter().map(Value::from).collect()
}

/// `split` and `rsplit`: by a separator or by runs of blanks, at most so often.
fn split(text: &str, args: &Arguments, from_right: bool) -> Result<Value, Error> {
    let separator = args.text(0, "sep")?;
    let most =
        args.integer(1, "maxsplit")?.filter(|&most| most >= 0).map_or(usize::MAX, |most| most as usize);
    let pieces: Vec<&str> = match &separator {
        Some(separator) if separator.is_empty() => return Err(failed("empty separator")),
        Some(separator) => {
            let limit = most.saturating_add(1);
            if from_right {
                let mut pieces: Vec<&str> = text.rsplitn(limit, separator.as_str()).collect();
                pieces.reverse();
                pieces
            } else {
                text.splitn(limit, separator.as_str()).collect()
            }
        }
        None => words(text, most, from_right),
    };
    Ok(pieces.into_iter().map(Value::from).collect())
}

/// The words of a text, at most `maxsplit` splits; the last one is the rest.
fn words(text: &str, most: usize, from_right: bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if pieces.len() == most {
            pieces.push(if from_right { rest.trim_end() } else { rest.trim_start() });
            break;
        }
        let cut = if from_right { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(at) = cut else {
            pieces.push(rest);
            break;
        };
        if from_right {
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            pieces.push(&rest[at + width..]);
            rest = rest[..at].trim_end();
        } else {
            pieces.push(&rest[..at]);
            rest = rest[at..].trim_start();
        }
    }
    if from_right {
        pieces.reverse();
    }
    pieces
}

/// The byte range of the character range from `start` to `end`.
fn bounds(text: &str, args: &Arguments) -> Result<(usize, usize), Error> {
    let letters = text.chars().count() as i64;
    let byte = |letter: i64| {
        let letter = if letter < 0 { letter + letters } else { letter }.clamp(0, letters) as usize;
        text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at)
    };
    let from = args.integer(1, "start")?.map_or(0, byte);
    let to = args.integer(2, "end")?.map_or(text.len(), byte);
    Ok((from, to))
}

/// The position of a part of a text, in characters.
fn find(text: &str, args: &Arguments, last: bool) -> Result<Option<usize>, Error> {
    let wanted = args.required(0, "sub")?;
    let (from, to) = bounds(text, args)?;
    let Some(inside) = text.get(from..to.max(from)) else { return Ok(None) };
    let at = if last { inside.rfind(wanted.as_str()) } else { inside.find(wanted.as_str()) };
    Ok(at.map(|at| text[..from + at].chars().count()))
}

fn pad(text: &str, method: &str, args: &Arguments) -> Result<String, Error> {
    let width = args.integer(0, "width")?.unwrap_or(0).clamp(0, 1 << 20) as usize;
    let fill = args.text(1, "fillchar")?.unwrap_or_else(|| " ".to_owned());
    let missing = width.saturating_sub(text.chars().count());
    let (left, right) = match method {
        "ljust" => (0, missing),
        "rjust" => (missing, 0),
        "zfill" => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            return Ok(format!("{sign}{}{digits}", "0".repeat(missing)));
        }
        // As CPython rounds.
        _ => {
            let left = missing / 2 + (missing & width & 1);
            (left, missing - left)
        }
    };
    Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(right)))
}

fn swap_case(letter: char) -> char {
    let swapped =
        if letter.is_uppercase() { letter.to_lowercase().next() } else { letter.to_uppercase().next() };
    swapped.unwrap_or(letter)
}

/// A letter after another is lower, any other is upper.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if inside {
            out.extend(letter.to_lowercase());
        } else {
            out.extend(letter.to_uppercase());
        }
        inside = letter.is_alphabetic();
    }
    out
}

pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}

fn expand_tabs(text: &str, size: usize) -> String {
    let mut column = 0;
    let mut out = String::new();
    for letter in text.chars() {
        if letter == '\t' {
            let blanks = if size == 0 { 0 } else { size - column % size };
            out.extend(std::iter::repeat_n(' ', blanks));
            column += blanks;
        } else {
            out.push(letter);
            column = if matches!(letter, '\n' | '\r') { 0 } else { column + 1 };
        }
    }
    out
}
