//! Words as `nltk.word_tokenize` cuts them: sentences first, then the rules of NLTK's tokenizer, in their order.

use std::sync::LazyLock;

use ivl_models::{Pattern, PatternError};

use super::sentences::sentences;
use crate::python_text::is_space;

/// Rules before the text is put between spaces.
const BEFORE: [(&str, &str); 17] = [
    // Opening quotes.
    ("([«“‘„]|[`]+)", r" \1 "),
    ("^\"", "``"),
    ("(``)", r" \1 "),
    (r#"([ \(\[{<])("|'{2})"#, r"\1 `` "),
    (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
    // Punctuation.
    (r#"([^\.])(\.)([\]\)}>"'»”’ ]*+)\s*$"#, r"\1 \2 \3 "),
    (r"([:,])([^\d])", r" \1 \2"),
    (r"([:,])$", r" \1 "),
    (r"\.{2,}", r" \g<0> "),
    (r"[;@#$%&]", r" \g<0> "),
    ("[\u{2012}-\u{2015}]", r" \g<0> "),
    (r#"([^\.])(\.)([\]\)}>"']*)\s*$"#, r"\1 \2\3 "),
    (r"[?!]", r" \g<0> "),
    (r"([^'])' ", r"\1 ' "),
    (r"[*]", r" \g<0> "),
    (r"[\]\[\(\)\{\}\<\>]", r" \g<0> "),
    ("--", " -- "),
];

/// Rules after that.
const AFTER: [(&str, &str); 16] = [
    // Closing quotes.
    ("([»”’])", r" \1 "),
    ("''", " '' "),
    ("\"", " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
    (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
    // Contractions.
    (r"(?i)\b(can)(not)\b", r" \1 \2 "),
    (r"(?i)\b(d)('ye)\b", r" \1 \2 "),
    (r"(?i)\b(gim)(me)\b", r" \1 \2 "),
    (r"(?i)\b(gon)(na)\b", r" \1 \2 "),
    (r"(?i)\b(got)(ta)\b", r" \1 \2 "),
    (r"(?i)\b(lem)(me)\b", r" \1 \2 "),
    (r"(?i)\b(more)('n)\b", r" \1 \2 "),
    (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 "),
    (r"(?i) ('t)(is)\b", r" \1 \2 "),
    (r"(?i) ('t)(was)\b", r" \1 \2 "),
];

type Rules = Vec<(Pattern, &'static str)>;

static RULES: LazyLock<[Rules; 2]> = LazyLock::new(|| [compiled(&BEFORE), compiled(&AFTER)]);

fn compiled(rules: &[(&str, &'static str)]) -> Rules {
    let compile = |source: &str| Pattern::new(source).expect("the rules are fixed and compile");
    rules.iter().map(|&(source, replacement)| (compile(source), replacement)).collect()
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<String>, PatternError> {
    let [before, after] = &*RULES;
    let mut all = Vec::new();
    for sentence in sentences(text)? {
        let inner = apply(before, sentence.to_owned())?;
        let cut = apply(after, format!(" {inner} "))?;
        all.extend(cut.split(is_space).filter(|token| !token.is_empty()).map(str::to_owned));
    }
    Ok(all)
}

fn apply(rules: &[(Pattern, &str)], mut text: String) -> Result<String, PatternError> {
    for (pattern, replacement) in rules {
        text = pattern.replace_all(&text, replacement)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of `nltk.word_tokenize` of NLTK 3.10.4.
    #[test]
    fn words_are_those_of_nltk() {
        let check = |text: &str, expected: &str| {
            assert_eq!(tokens(text).expect("ends").join("|"), expected, "{text}");
        };
        check("Good muffins cost $3.88 in New York.", "Good|muffins|cost|$|3.88|in|New|York|.");
        check("They'll say \"I CAN'T\" (NASA).", "They|'ll|say|``|I|CA|N'T|''|(|NASA|)|.");
        check("Cannot! A.B. went... WELL-KNOWN, 'twas.", "Can|not|!|A.B|.|went|...|WELL-KNOWN|,|'|twas|.");
    }
}
