//! JSON as Python reads it.

use serde::de::IgnoredAny;

/// Whether `json.loads` reads a text: JSON of any depth, and `NaN`, `Infinity` and `-Infinity` for numbers.
pub(super) fn is_json(text: &str) -> bool {
    let mut plain = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let word =
            ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            // A word in the place of a word: beside a number it is as wrong as before.
            plain.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        match letter {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && letter == '\\' && !escaped;
        plain.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    serde_json::from_str::<IgnoredAny>(&plain).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of CPython 3.11.
    #[test]
    fn python_reads_what_it_reads() {
        let good = [
            "{}",
            " [1, 2.5e3]\n",
            "\"a\"",
            "NaN",
            "[-Infinity, {\"NaN\": Infinity}]",
            "\"\\\"NaN\"",
            "1e999",
            "null",
        ];
        for text in good {
            assert!(is_json(text), "{text}");
        }
        for text in
            ["", "{a: 1}", "[1,]", "nan", "\"a\nb\"", "NaNNaN", "1NaN", "{} {}", "'a'", "01", "\"\\x\""]
        {
            assert!(!is_json(text), "{text}");
        }
    }
}
