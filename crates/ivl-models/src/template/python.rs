//! The two pieces of Python's standard library that chat templates call.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// `json.dumps`: separators `", "` and `": "`, or a newline and `": "` with an indent.
pub(crate) fn dumps(
    value: &Value,
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
    separators: Option<&[String]>,
) -> String {
    let (item, key) = match separators {
        Some([item, key]) => (item.as_str(), key.as_str()),
        _ if indent.is_some() => (",", ": "),
        _ => (", ", ": "),
    };
    let mut out = String::new();
    Dumper { out: &mut out, item, key, indent, ensure_ascii, sort_keys }.value(value, 0);
    out
}

struct Dumper<'a> {
    out: &'a mut String,
    item: &'a str,
    key: &'a str,
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
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
                if self.sort_keys {
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
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        if !self.ensure_ascii {
            self.out.push_str(&quoted);
            return;
        }
        for unit in quoted.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => self.out.push(char::from(byte)),
                _ => {
                    // Writing to a string cannot fail.
                    let _ = write!(self.out, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// `datetime.now().strftime(format)`, in UTC: a library that reads the local zone is not worth a prompt's date. Knows the
/// directives that templates use; others stay as they are.
pub(crate) fn strftime_now(format: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(format, seconds)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn strftime(format: &str, seconds: u64) -> String {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = DAYS[(days % 7) as usize];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('Y') => out += &year.to_string(),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('B') => out += MONTHS[month - 1],
            Some('b') => out += &MONTHS[month - 1][..3],
            Some('A') => out += weekday,
            Some('a') => out += &weekday[..3],
            Some('H') => out += &format!("{hour:02}"),
            Some('M') => out += &format!("{minute:02}"),
            Some('S') => out += &format!("{second:02}"),
            Some('%') | None => out.push('%'),
            Some(other) => out.extend(['%', other]),
        }
    }
    out
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({ "b": [1, 2.0, null, true], "a": { "é": "x\n\"" }, "e": [], "f": {} });
        assert_eq!(
            dumps(&value, None, false, false, None),
            r#"{"b": [1, 2.0, null, true], "a": {"é": "x\n\""}, "e": [], "f": {}}"#
        );
        assert_eq!(
            dumps(&json!({ "b": "😀", "a": 1 }), None, true, true, None),
            r#"{"a": 1, "b": "\ud83d\ude00"}"#
        );
        assert_eq!(dumps(&json!({ "a": [1] }), Some(2), false, false, None), "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(strftime("%d %b %Y, %A %H:%M:%S %%", 1_709_210_096), "29 Feb 2024, Thursday 12:34:56 %");
        assert_eq!(strftime("%y-%m-%d %Q", 0), "70-01-01 %Q");
    }
}
