//! Filters and tests of Jinja2 that minijinja lacks or has otherwise.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::percent_format::percent_format;
use super::python::python_str;
use super::python_methods::{Arguments, capitalize};

/// Adds them to an environment.
pub(super) fn add_python_filters(environment: &mut Environment<'static>) {
    environment.add_filter("string", |value: Value| python_str(&value));
    environment
        .add_filter("format", |text: String, Rest(values): Rest<Value>| percent_format(&text, &values));
    environment.add_filter("join", join);
    environment.add_filter("capitalize", |text: String| capitalize(&text));
    environment.add_filter("striptags", |text: Value| striptags(&python_str(&text)));
    environment.add_filter("wordcount", |text: Value| word_count(&python_str(&text)));
    environment.add_filter("center", center);
    environment.add_filter("truncate", |text: Value, Rest(values): Rest<Value>, named: Kwargs| {
        truncate(&python_str(&text), &Arguments::new(values, named))
    });
    environment.add_filter("wordwrap", |text: Value, Rest(values): Rest<Value>, named: Kwargs| {
        word_wrap(&python_str(&text), &Arguments::new(values, named))
    });
    environment.add_filter("indent", |text: Value, Rest(values): Rest<Value>, named: Kwargs| {
        indent(&python_str(&text), &Arguments::new(values, named))
    });
    environment.add_filter("filesizeformat", file_size);
    environment.add_filter("forceescape", |text: Value| escape(&python_str(&text)));
    environment.add_filter("escape", |text: Value| escape(&python_str(&text)));
    environment.add_filter("e", |text: Value| escape(&python_str(&text)));
    environment.add_filter("int", |value: Value, Rest(values): Rest<Value>, named: Kwargs| {
        int(value, &Arguments::new(values, named))
    });
    environment.add_filter("float", |value: Value, Rest(values): Rest<Value>, named: Kwargs| {
        float(value, &Arguments::new(values, named))
    });
    environment.add_filter("pprint", |value: Value| super::python::python_repr(&value));
    environment.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
    });
    environment.add_test("callable", |value: Value| value.kind() == ValueKind::Plain);
    environment
        .add_test("number", |value: Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    environment.add_test("divisibleby", |value: i64, by: i64| by != 0 && value % by == 0);
    // Nothing can be looped over, but in Python it says so.
    environment.add_test("iterable", |value: Value| !value.is_none() && value.try_iter().is_ok());
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn join(values: Value, separator: Option<String>, options: Kwargs) -> Result<String, Error> {
    let attribute: Option<String> = options.get("attribute")?;
    let separator = match separator {
        Some(separator) => separator,
        None => options.get::<Option<String>>("d")?.unwrap_or_default(),
    };
    options.assert_all_used()?;
    if values.is_undefined() || values.is_none() {
        return if values.is_none() { Err(failed("nothing cannot be joined")) } else { Ok(String::new()) };
    }
    let mut texts = Vec::new();
    for value in values.try_iter()? {
        let value = match &attribute {
            Some(attribute) => value.get_attr(attribute)?,
            None => value,
        };
        texts.push(python_str(&value));
    }
    Ok(texts.join(&separator))
}

/// Markup without its tags and comments; runs of blanks become one, entities their letters.
fn striptags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let end = if rest[start..].starts_with("<!--") {
            rest[start..].find("-->").map(|end| end + 3)
        } else {
            rest[start..].find('>').map(|end| end + 1)
        };
        let Some(end) = end else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + end..];
    }
    out.push_str(rest);
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", "\u{a0}"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(out, |text, (entity, letter)| text.replace(entity, letter))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&#34;")
}

fn word_count(text: &str) -> usize {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        .filter(|word| !word.is_empty())
        .count()
}

fn center(text: String, width: Option<usize>) -> String {
    let width = width.unwrap_or(80).min(1 << 20);
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left))
}

fn truncate(text: &str, args: &Arguments) -> Result<String, Error> {
    let length = args.integer(0, "length")?.unwrap_or(255).max(0) as usize;
    let end = args.text(2, "end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = args.integer(3, "leeway")?.unwrap_or(5).max(0) as usize;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = letters[..length.saturating_sub(end.chars().count())].iter().collect();
    let kept = if args.flag(1, "killwords")? {
        kept.as_str()
    } else {
        kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before)
    };
    Ok(format!("{kept}{end}"))
}

/// Lines of at most `width` characters; longer words are split.
fn word_wrap(text: &str, args: &Arguments) -> Result<String, Error> {
    let width = args.integer(0, "width")?.unwrap_or(79).max(1) as usize;
    let break_long = args.get(1, "break_long_words")?.is_none_or(|value| value.is_true());
    let between = args.text(2, "wrapstring")?.unwrap_or_else(|| "\n".to_owned());
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            let room = current.chars().count() + usize::from(!current.is_empty());
            if !current.is_empty() && room + word.len() > width {
                lines.push(std::mem::take(&mut current));
            }
            while break_long && word.len() > width {
                lines.push(word.drain(..width).collect());
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.extend(word);
        }
        lines.push(current);
    }
    Ok(lines.join(&between))
}

fn indent(text: &str, args: &Arguments) -> Result<String, Error> {
    let width = args.get(0, "width")?;
    let (first, blank) = (args.flag(1, "first")?, args.flag(2, "blank")?);
    let prefix = match width {
        None => "    ".to_owned(),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(width)?.min(1 << 10)),
        },
    };
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if (index > 0 || first) && (blank || !line.is_empty()) {
            out.push_str(&prefix);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn file_size(bytes: f64, binary: Option<bool>) -> String {
    let binary = binary.unwrap_or(false);
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let units = if binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    if bytes == 1.0 {
        return "1 Byte".to_owned();
    }
    if bytes < base {
        return format!("{} Bytes", bytes as i64);
    }
    let (mut unit, mut size) = (0, bytes / base);
    while size >= base && unit + 1 < units.len() {
        unit += 1;
        size /= base;
    }
    format!("{size:.1} {}", units[unit])
}

/// Python's `int`, or the default for what is no number.
fn int(value: Value, args: &Arguments) -> Result<Value, Error> {
    let default = args.get(0, "default")?.unwrap_or_else(|| Value::from(0));
    let base = args.integer(1, "base")?.filter(|base| (2..=36).contains(base)).unwrap_or(10) as u32;
    Ok(match (value.kind(), value.as_str()) {
        (ValueKind::Bool, _) => Value::from(i64::from(value.is_true())),
        (ValueKind::Number, _) if value.is_integer() => value,
        (ValueKind::Number, _) => Value::from(f64::try_from(value)?.trunc() as i64),
        (_, Some(text)) => {
            let text = text.trim().replace('_', "");
            let whole = i64::from_str_radix(&text, base).ok();
            whole
                .or_else(|| text.parse::<f64>().ok().map(|number| number as i64))
                .map_or(default, Value::from)
        }
        _ => default,
    })
}

/// Python's `float`, or the default for what is no number.
fn float(value: Value, args: &Arguments) -> Result<Value, Error> {
    let default = args.get(0, "default")?.unwrap_or_else(|| Value::from(0.0));
    Ok(match (value.kind(), value.as_str()) {
        (ValueKind::Bool, _) => Value::from(f64::from(u8::from(value.is_true()))),
        (ValueKind::Number, _) => Value::from(f64::try_from(value)?),
        (_, Some(text)) => text.trim().replace('_', "").parse::<f64>().map_or(default, Value::from),
        _ => default,
    })
}
