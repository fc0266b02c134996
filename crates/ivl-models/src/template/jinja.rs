//! Jinja as Python has it: what chat templates and templates of rows share.

use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::python::{JsonStyle, dumps, python_str};
use super::python_filters::add_python_filters;
use super::python_methods::python_method;

/// Instructions that a rendering may take: a template from a stranger must end.
const FUEL: u64 = 50_000_000;

/// An environment that writes values, calls methods and filters, and dumps JSON as Python does, and ends.
pub(crate) fn python_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(python_method);
    environment.set_formatter(|out, _, value| Ok(out.write_str(&python_str(value))?));
    environment.add_filter("tojson", to_json);
    add_python_filters(&mut environment);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment
}

/// A source with line ends as Jinja2 reads them, and without syntax that minijinja lacks: `'..' % values` becomes a filter.
pub(crate) fn python_source(source: &str) -> String {
    with_percent_filter(&source.replace("\r\n", "\n").replace('\r', "\n"))
}

fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let json = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let style = JsonStyle {
        indent,
        ensure_ascii: ensure_ascii.unwrap_or(false),
        sort_keys: sort_keys.unwrap_or(false),
        separators: separators.as_deref(),
    };
    Ok(dumps(&json, style))
}

/// `'literal' % operand` as `'literal' | format(operand)`, within tags; a tuple becomes several arguments.
fn with_percent_filter(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let close = match rest[start..].get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            Some("{#") => {
                let end = rest[start..].find("#}").map_or(rest.len(), |end| start + end + 2);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            _ => {
                out.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
                continue;
            }
        };
        out.push_str(&rest[..start + 2]);
        rest = &rest[start + 2..];
        let end = end_of_tag(rest, close);
        out.push_str(&rewritten(&rest[..end]));
        let is_raw = close == "%}" && rest[..end].trim_matches(['-', '+', ' ', '\n', '\t']) == "raw";
        rest = &rest[end..];
        if is_raw {
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out + rest
}

/// Where a tag ends: its closing letters outside strings.
fn end_of_tag(tag: &str, close: &str) -> usize {
    let mut at = 0;
    while at < tag.len() {
        let rest = &tag[at..];
        if rest.starts_with(close) {
            return at;
        }
        at += string_literal(rest).map_or_else(|| rest.chars().next().map_or(1, char::len_utf8), str::len);
    }
    tag.len()
}

/// The string literal that a text begins with.
fn string_literal(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return Some(&text[..=at]),
            _ => {}
        }
    }
    None
}

fn rewritten(tag: &str) -> String {
    let mut out = String::with_capacity(tag.len());
    let mut at = 0;
    while at < tag.len() {
        let rest = &tag[at..];
        let Some(literal) = string_literal(rest) else {
            let width = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..width]);
            at += width;
            continue;
        };
        out.push_str(literal);
        at += literal.len();
        let after = tag[at..].trim_start();
        if let Some(operand) = after.strip_prefix('%').map(str::trim_start)
            && let Some(len) = operand_len(operand)
        {
            let operand_at = tag.len() - operand.len();
            let arguments = rewritten(&operand[..len]);
            out.push_str(&match inside_of_tuple(&arguments) {
                Some(inside) => format!("|format({inside})"),
                None => format!("|format({arguments})"),
            });
            at = operand_at + len;
        }
    }
    out
}

/// The values of a tuple, if an operand is one.
fn inside_of_tuple(operand: &str) -> Option<&str> {
    let inside = operand.strip_prefix('(')?.strip_suffix(')')?;
    let (mut depth, mut at, mut has_comma) = (0i32, 0, false);
    while at < inside.len() {
        let rest = &inside[at..];
        if let Some(literal) = string_literal(rest) {
            at += literal.len();
            continue;
        }
        let letter = rest.chars().next()?;
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => has_comma = true,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
        at += letter.len_utf8();
    }
    has_comma.then(|| inside.trim_end().trim_end_matches(','))
}

/// The length of the operand that a text begins with: a literal, a name or brackets, with what is applied to it.
fn operand_len(text: &str) -> Option<usize> {
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    let mut at = match string_literal(text) {
        Some(literal) => literal.len(),
        None if text.starts_with(['(', '[', '{']) => brackets_len(text)?,
        None => text.find(|letter| !is_word(letter)).unwrap_or(text.len()),
    };
    if at == 0 {
        return None;
    }
    loop {
        let rest = &text[at..];
        let blanks = rest.len() - rest.trim_start().len();
        let more = if rest.starts_with(['(', '[']) {
            brackets_len(rest)?
        } else if let Some(name) = rest.strip_prefix('.') {
            1 + name.find(|letter| !is_word(letter)).unwrap_or(name.len())
        } else if let Some(filter) = rest.trim_start().strip_prefix('|') {
            let name = filter.trim_start();
            let gap = filter.len() - name.len();
            blanks + 1 + gap + name.find(|letter| !is_word(letter)).unwrap_or(name.len())
        } else {
            0
        };
        if more == 0 {
            return Some(at);
        }
        at += more;
    }
}

/// The length of the bracketed part that a text begins with.
fn brackets_len(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0i32, 0);
    while at < text.len() {
        let rest = &text[at..];
        if let Some(literal) = string_literal(rest) {
            at += literal.len();
            continue;
        }
        let letter = rest.chars().next()?;
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += letter.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_after_a_literal_is_a_filter() {
        for (source, expected) in [
            ("{{ '%s-%s' % ('a', 1) }}", "{{ '%s-%s'|format('a', 1) }}"),
            ("{{ '%s' % x.y[0]|upper ~ 'b' }}", "{{ '%s'|format(x.y[0]|upper) ~ 'b' }}"),
            (
                "{% set a = \"%d\" % (n) %}50 % {{ n % 2 }}",
                "{% set a = \"%d\"|format((n)) %}50 % {{ n % 2 }}",
            ),
            (
                "{{ '%s' % (s,) }}{% raw %}{{ '%s' % 1 }}{% endraw %}",
                "{{ '%s'|format(s) }}{% raw %}{{ '%s' % 1 }}{% endraw %}",
            ),
            ("{# '%s' % 1 #}{{ 'a' }}{% if 'b' %}", "{# '%s' % 1 #}{{ 'a' }}{% if 'b' %}"),
            ("a\r\nb\rc", "a\nb\nc"),
        ] {
            assert_eq!(python_source(source), expected);
        }
    }
}
