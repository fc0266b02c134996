//! The language of a text.

use std::sync::LazyLock;

use langdetect::{DetectorFactory, Seed};

/// The detector that IFEval uses. It draws at random; ivl seeds it, so that a response has one verdict.
static DETECTOR: LazyLock<DetectorFactory> = LazyLock::new(|| {
    let mut factory = DetectorFactory::builtin().clone();
    factory.seed = Seed::Int(0);
    factory
});

/// Whether a text is in a language by its code, or in no detectable one: IFEval counts such texts as right.
pub(super) fn is_in(text: &str, language: &str) -> bool {
    DETECTOR.detect(text).map_or(true, |detected| detected == language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart_and_numbers_are_in_all() {
        assert!(is_in("The cat sat on the mat and looked at the dog.", "en"));
        assert!(!is_in("Die Katze saß auf der Matte und sah den Hund an.", "en"));
        assert!(is_in("बिल्ली चटाई पर बैठी थी और कुत्ते को देख रही थी।", "hi"));
        assert!(is_in("123", "de"));
    }
}
