//! `strftime` of Python, for the time of now.

use chrono::format::{Item, StrftimeItems};
use chrono::{NaiveDateTime, Utc};

/// The time of now in UTC: the same request gives the same prompt everywhere.
pub(super) fn strftime_now(format: &str) -> String {
    strftime(format, Utc::now().naive_utc())
}

/// Codes that Python does not know stay as they are; the zone of a time without one is empty.
fn strftime(format: &str, time: NaiveDateTime) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = code(&rest[at..]);
        rest = &rest[at + code.len()..];
        match code {
            // Python has no fraction below a microsecond.
            "%f" => out.push_str(&time.format("%6f").to_string()),
            "%z" | "%Z" => {}
            _ if is_known(code) => out.push_str(&time.format(code).to_string()),
            _ => out.push_str(code),
        }
    }
    out + rest
}

/// The code at the start of a text: `%`, a flag of the C library, a letter.
fn code(text: &str) -> &str {
    let mut letters = text.char_indices().skip(1);
    let end = match letters.next() {
        Some((at, '-' | '_' | '0' | '^' | '#')) => {
            letters.next().map_or(at + 1, |(at, letter)| at + letter.len_utf8())
        }
        Some((at, letter)) => at + letter.len_utf8(),
        None => text.len(),
    };
    &text[..end]
}

fn is_known(code: &str) -> bool {
    // Of chrono's own invention.
    let invented = code.ends_with(['+', 'v', ':', '.', '3', '6', '9', 'q', 'J']);
    code.len() > 1 && !invented && !StrftimeItems::new(code).any(|item| item == Item::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_python() {
        let time = chrono::DateTime::from_timestamp(1_709_211_906, 5_000_000).expect("a time").naive_utc();
        for (format, expected) in [
            ("%d %b %Y, %A %H:%M:%S %%", "29 Feb 2024, Thursday 13:05:06 %"),
            ("%y-%m-%d %Q", "24-02-29 %Q"),
            ("%e|%-d|%j|%I|%p|%-I|%-m", "29|29|060|01|PM|1|2"),
            ("%a %B %U %W %w %u %G %V", "Thu February 08 09 4 4 2024 09"),
            ("%F %T %D %R", "2024-02-29 13:05:06 02/29/24 13:05"),
            ("%c|%x|%X|%f|%z|%Z|", "Thu Feb 29 13:05:06 2024|02/29/24|13:05:06|005000|||"),
            ("100%", "100%"),
            ("%+ %é", "%+ %é"),
        ] {
            assert_eq!(strftime(format, time), expected, "{format}");
        }
    }
}
