//! Values as Python writes them: `str`, `repr` and `json.dumps`.

use std::fmt::Write;

use minijinja::Value as JinjaValue;
use minijinja::value::ValueKind;
use serde_json::Value;

/// `repr` of a float: the shortest digits that give it back, in positional notation from 1e-4 up to 1e16.
pub(super) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (-4..16).contains(&power) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// `str` of a value.
pub(super) fn python_str(value: &JinjaValue) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => python_repr(value),
    }
}

/// `repr` of a value.
pub(super) fn python_repr(value: &JinjaValue) -> String {
    let items = |value: &JinjaValue| value.try_iter().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_repr)
        }
        ValueKind::String => string_repr(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let shown: Vec<String> = items(value).iter().map(python_repr).collect();
            format!("[{}]", shown.join(", "))
        }
        ValueKind::Map if value.as_object().is_none_or(|object| object.enumerator_len().is_some()) => {
            let entry = |key: &JinjaValue| {
                let entry = value.get_item(key).unwrap_or_default();
                format!("{}: {}", python_repr(key), python_repr(&entry))
            };
            let shown: Vec<String> = items(value).iter().map(entry).collect();
            format!("{{{}}}", shown.join(", "))
        }
        _ => value.to_string(),
    }
}

/// `repr` of a string.
fn string_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if is_printable(letter) => out.push(letter),
            letter => {
                let code = u32::from(letter);
                let escaped = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.push_str(&escaped);
            }
        }
    }
    out.push(quote);
    out
}

/// As `str.isprintable`, up to unassigned letters.
pub(super) fn is_printable(letter: char) -> bool {
    let private = matches!(u32::from(letter), 0xe000..=0xf8ff | 0xf_0000..=0x10_ffff);
    letter == ' '
        || !(letter.is_control()
            || letter.is_whitespace()
            || private
            || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
}

/// How `json.dumps` is called.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct JsonStyle<'a> {
    /// Spaces of each level, one item a line.
    pub(super) indent: Option<usize>,
    /// Whether letters beyond ASCII are escaped.
    pub(super) ensure_ascii: bool,
    /// Whether keys are sorted.
    pub(super) sort_keys: bool,
    /// Between items, and between a key and its value.
    pub(super) separators: Option<&'a [String]>,
}

/// `json.dumps`: separators `", "` and `": "`, or a newline and `": "` with an indent.
pub(super) fn dumps(value: &Value, style: JsonStyle<'_>) -> String {
    let (item, key) = match style.separators {
        Some([item, key]) => (item.as_str(), key.as_str()),
        _ if style.indent.is_some() => (",", ": "),
        _ => (", ", ": "),
    };
    let mut out = String::new();
    Dumper { out: &mut out, item, key, style }.value(value, 0);
    out
}

struct Dumper<'a> {
    out: &'a mut String,
    item: &'a str,
    key: &'a str,
    style: JsonStyle<'a>,
}

impl Dumper<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.value(item, depth + 1);
                }
                self.newline(depth);
                self.out.push(']');
            }
            Value::Object(map) if !map.is_empty() => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.style.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.out.push('{');
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.string(key);
                    self.out.push_str(self.key);
                    self.value(value, depth + 1);
                }
                self.newline(depth);
                self.out.push('}');
            }
            Value::String(text) => self.string(text),
            Value::Number(number) if number.is_f64() => {
                self.out.push_str(&float_repr(number.as_f64().unwrap_or_default()));
            }
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push_str(self.item);
        }
        self.newline(depth);
    }

    fn newline(&mut self, depth: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        if !self.style.ensure_ascii {
            self.out.push_str(&quoted);
            return;
        }
        for unit in quoted.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => self.out.push(char::from(byte)),
                _ => write!(self.out, "\\u{unit:04x}").expect("a string takes any text"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({ "b": [1, 2.0, null, true, 1e-5], "a": { "é": "x\n\"" }, "e": [], "f": {} });
        assert_eq!(
            dumps(&value, JsonStyle::default()),
            r#"{"b": [1, 2.0, null, true, 1e-05], "a": {"é": "x\n\""}, "e": [], "f": {}}"#
        );
        let style = JsonStyle { ensure_ascii: true, sort_keys: true, ..JsonStyle::default() };
        assert_eq!(dumps(&json!({ "b": "😀", "a": 1 }), style), r#"{"a": 1, "b": "\ud83d\ude00"}"#);
        let style = JsonStyle { indent: Some(2), ..JsonStyle::default() };
        assert_eq!(dumps(&json!({ "a": [1] }), style), "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn floats_have_the_digits_of_python() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(number), expected);
        }
    }
}
