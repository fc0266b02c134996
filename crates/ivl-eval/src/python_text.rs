//! Texts as Python's methods see them.

/// `str.isspace` of one character.
pub(crate) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// `str.strip`.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.isupper`: a letter with case, and none that is not a capital.
pub(crate) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase)
        && !text.chars().any(|letter| letter.is_lowercase() || is_title(letter))
}

/// `str.islower`: a letter with case, and none that is a capital.
pub(crate) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase)
        && !text.chars().any(|letter| letter.is_uppercase() || is_title(letter))
}

/// Letters of two, the first of them a capital (category Lt).
fn is_title(letter: char) -> bool {
    !letter.is_uppercase() && !letter.is_lowercase() && letter.to_lowercase().next() != Some(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_as_python_has_it() {
        let check = |text: &str, upper: bool, lower: bool| {
            assert_eq!((is_upper(text), is_lower(text)), (upper, lower), "{text:?}");
        };
        check("ABC 1!", true, false);
        check("abc 1!", false, true);
        check("aB", false, false);
        check("123", false, false);
        check("ǅ", false, false);
        check("Ω", true, false);
        check("ß", false, true);
        check("हिन्दी", false, false);
        assert_eq!(trim("\u{1c} a\u{a0}"), "a");
    }
}
