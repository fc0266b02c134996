//! Lists of modules in `quantization_config`: those that are left as they are, and those that a group of settings is for.

use fancy_regex::Regex;

use crate::Error;
use crate::fields::Fields;

/// More patterns, or longer ones, than any configuration has.
const MOST_PATTERNS: usize = 1 << 16;
const LONGEST_PATTERN: usize = 1024;

/// Steps back in one match, beyond which a pattern is refused.
const MOST_STEPS: usize = 100_000;

/// Modules, by name or pattern.
#[derive(Debug, Clone, Default)]
pub(super) struct ModulePatterns {
    names: Vec<String>,
    ends: Vec<String>,
    patterns: Vec<Regex>,
}

/// How a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternStyle {
    /// Transformers: the beginning of the name up to a dot, as a regular expression, or the end of the name.
    Transformers,
    /// compressed-tensors: the whole name, or after `re:` a regular expression for its beginning.
    CompressedTensors,
}

impl ModulePatterns {
    /// Reads the list `field`; an absent one has no modules.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for anything but a list of names and regular expressions.
    pub(super) fn read(fields: &Fields<'_>, field: &str, style: PatternStyle) -> Result<Self, Error> {
        let texts = fields.opt_texts(field)?.unwrap_or_default();
        if texts.len() > MOST_PATTERNS || texts.iter().any(|text| text.len() > LONGEST_PATTERN) {
            return Err(fields.invalid(
                field,
                format!("at most {MOST_PATTERNS} names of at most {LONGEST_PATTERN} bytes"),
            ));
        }
        let mut found = Self::default();
        for text in texts {
            let pattern = match style {
                PatternStyle::Transformers => {
                    found.ends.push(text.to_owned());
                    if is_name(text) {
                        found.names.push(text.to_owned());
                        continue;
                    }
                    format!(r"\A(?:{text})(?:(?<=\.)|(?=\.|\z))")
                }
                PatternStyle::CompressedTensors => {
                    let Some(pattern) = text.strip_prefix("re:") else {
                        found.names.push(text.to_owned());
                        continue;
                    };
                    format!(r"\A(?:{pattern})")
                }
            };
            let regex = fancy_regex::RegexBuilder::new(&pattern).backtrack_limit(MOST_STEPS).build();
            let regex = regex.map_err(|_| {
                fields.invalid(field, format!("names or regular expressions; `{text}` cannot be read"))
            })?;
            found.patterns.push(regex);
        }
        // Names of modules whose parts are also named are found by a search.
        found.names.sort_unstable();
        Ok(found)
    }

    /// Whether a name stands in the list itself.
    pub(super) fn names(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }

    /// Whether a module is in the list. A pattern that takes too long matches nothing.
    pub(super) fn contains(&self, module: &str) -> bool {
        let parents = module.match_indices('.').map(|(at, _)| &module[..at]);
        let is_named = match self.ends.is_empty() {
            true => self.names(module),
            false => parents.chain([module]).any(|parent| self.names(parent)),
        };
        is_named
            || self.ends.iter().any(|end| module.ends_with(end.as_str()))
            || self.patterns.iter().any(|pattern| pattern.is_match(module).unwrap_or(false))
    }
}

/// Whether a regular expression is a name: a dot in it stands for any character, which no name of a module makes use of.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patterns(list: &[&str], style: PatternStyle) -> ModulePatterns {
        let json = json!({ "ignore": list });
        let map = json.as_object().expect("an object");
        ModulePatterns::read(&Fields::new(map, "config.json".as_ref()), "ignore", style).expect("reads")
    }

    #[test]
    fn lists_of_both_styles_name_the_same_modules_as_in_python() {
        let list = patterns(&["lm_head", "model.layers.1", r".*mlp\.gate"], PatternStyle::Transformers);
        for (module, is_in) in [
            ("lm_head", true),
            ("model.layers.1.mlp.up_proj", true),
            ("model.layers.11.mlp.up_proj", false),
            ("model.layers.3.mlp.gate", true),
            ("model.layers.3.mlp.gate_proj", false),
        ] {
            assert_eq!(list.contains(module), is_in, "{module}");
        }
        let list = patterns(&["lm_head", r"re:.*self_attn\.k.*"], PatternStyle::CompressedTensors);
        for (module, is_in) in [
            ("lm_head", true),
            ("model.lm_head", false),
            ("model.layers.1.self_attn.k_proj", true),
            ("model.layers.1.self_attn.q_proj", false),
        ] {
            assert_eq!(list.contains(module), is_in, "{module}");
        }
    }
}
