//! Keys of a configuration that are not known, and which were meant.

/// Least likeness of a key that is offered for another.
const ALIKE: f64 = 0.7;

/// A key that a table may not have, with those that it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField<'a> {
    /// The key.
    pub key: &'a str,
    /// Its known siblings.
    pub known: Vec<&'a str>,
}

impl<'a> UnknownField<'a> {
    /// From serde's message "unknown field `a`, expected one of `b`, `c`"; `None` for other messages.
    pub fn in_message(reason: &'a str) -> Option<Self> {
        let (_, rest) = reason.lines().next()?.split_once("unknown field `")?;
        let (key, rest) = rest.split_once('`')?;
        Some(Self { key, known: rest.split('`').skip(1).step_by(2).collect() })
    }
}

/// The item whose name is most like `key`, if one is like it at all.
pub fn nearest<T>(key: &str, named: impl IntoIterator<Item = (T, impl AsRef<str>)>) -> Option<T> {
    let key = key.to_lowercase();
    let like = |name: &str| strsim::normalized_damerau_levenshtein(&key, name);
    let best = named
        .into_iter()
        .map(|(item, name)| (like(name.as_ref()), item))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_names_the_key_and_its_siblings() {
        let field = UnknownField::in_message("unknown field `x`, expected one of `a`, `b`\nin `t`");
        assert_eq!(field, Some(UnknownField { key: "x", known: vec!["a", "b"] }));
        assert_eq!(UnknownField::in_message("invalid type"), None);
    }

    #[test]
    fn the_nearest_name_must_be_near() {
        let among = |key| nearest(key, ["learning_rate", "seed"].map(|name| (name, name)));
        assert_eq!(among("Lerning_rate"), Some("learning_rate"));
        assert_eq!(among("zzz"), None);
    }
}
