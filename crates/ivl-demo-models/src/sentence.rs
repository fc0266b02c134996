//! Sentences from patterns.

/// `template` with the name for `{n}`, the value for `{v}` and the pronoun for `{they}`.
pub(crate) fn fill(template: &str, name: &str, value: &str, pronoun: &str) -> String {
    template.replace("{n}", name).replace("{v}", value).replace("{they}", pronoun)
}

/// `text` with a capital letter at its beginning.
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
