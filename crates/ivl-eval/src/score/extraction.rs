//! Filters that extract the scored part of an answer.

use std::path::Path;

use ivl_models::{Pattern, PatternError};

use crate::error::Error;
use crate::python_text::trim;
use crate::task::{FilterFunction, FilterPipeline, FilterStep};

/// The result of a filter that finds nothing, as in lm-evaluation-harness.
const FALLBACK: &str = "[invalid]";

/// A filter: a list of steps.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// Its name in tables; `none` for the answer as it is.
    pub name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A match of a pattern, counted from the first or, negative, from the last.
    Find {
        pattern: Box<Pattern>,
        select: i64,
        fallback: String,
    },
    Trim,
    Lowercase,
}

impl Extraction {
    /// The answer as it is.
    pub fn whole() -> Self {
        Self { name: "none".to_owned(), steps: Vec::new() }
    }

    /// A match of a pattern: the whole match, or its first group that is not empty. `select` counts matches from the first,
    /// or, negative, from the last. Where nothing is found the answer is `[invalid]`.
    pub fn find(name: &str, pattern: Pattern, select: i64) -> Self {
        let (pattern, fallback) = (Box::new(pattern), FALLBACK.to_owned());
        Self { name: name.to_owned(), steps: vec![Step::Find { pattern, select, fallback }] }
    }

    /// The filters of a task; the answer as it is if there are none.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Pattern`].
    pub(crate) fn all(path: &Path, pipelines: &[FilterPipeline]) -> Result<Vec<Self>, Error> {
        if pipelines.is_empty() {
            return Ok(vec![Self::whole()]);
        }
        let read = |(index, pipeline): (usize, &FilterPipeline)| {
            let steps = pipeline.filter.iter().map(|step| read_step(path, index, step));
            let steps = steps.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            Ok(Self { name: pipeline.name.clone(), steps })
        };
        pipelines.iter().enumerate().map(read).collect()
    }

    /// The extracted part of an answer.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn apply(&self, answer: &str) -> Result<String, PatternError> {
        let mut text = answer.to_owned();
        for step in &self.steps {
            text = match step {
                Step::Find { pattern, select, fallback } => {
                    find(pattern, *select, &text)?.unwrap_or_else(|| fallback.clone())
                }
                Step::Trim => trim(&text).to_owned(),
                Step::Lowercase => text.to_lowercase(),
            };
        }
        Ok(text)
    }
}

fn find(pattern: &Pattern, select: i64, text: &str) -> Result<Option<String>, PatternError> {
    let found = pattern.find_all(text)?;
    let index = if select < 0 { found.len() as i64 + select } else { select };
    let groups = usize::try_from(index).ok().and_then(|index| found.get(index));
    Ok(groups.and_then(|groups| match groups.as_slice() {
        [one] => Some(trim(one).to_owned()),
        several => several.iter().find(|group| !group.is_empty()).map(|group| trim(group).to_owned()),
    }))
}

fn read_step(path: &Path, index: usize, step: &FilterStep) -> Result<Option<Step>, Error> {
    let key = |name: &str| format!("filter_list[{index}].filter.{name}");
    if step.function != FilterFunction::Regex {
        let set = [
            ("regex_pattern", step.regex_pattern.is_some()),
            ("group_select", step.group_select.is_some()),
            ("fallback", step.fallback.is_some()),
        ];
        if let Some((name, _)) = set.iter().find(|(_, set)| *set) {
            return Err(Error::Setting {
                path: path.to_owned(),
                key: key(name),
                expected: "only beside function = \"regex\"",
                got: "set".to_owned(),
            });
        }
    }
    Ok(match step.function {
        FilterFunction::TakeFirst => None,
        FilterFunction::RemoveWhitespace => Some(Step::Trim),
        FilterFunction::Lowercase => Some(Step::Lowercase),
        FilterFunction::Regex => {
            let Some(source) = &step.regex_pattern else {
                return Err(Error::Setting {
                    path: path.to_owned(),
                    key: key("regex_pattern"),
                    expected: "a regular expression",
                    got: "not set".to_owned(),
                });
            };
            let what = || format!("`{}` in the task `{}`", key("regex_pattern"), path.display());
            let pattern = Pattern::new(source).map_err(|source| Error::Pattern { what: what(), source })?;
            let fallback = step.fallback.clone().unwrap_or_else(|| FALLBACK.to_owned());
            Some(Step::Find { pattern: Box::new(pattern), select: step.group_select.unwrap_or(0), fallback })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filters of gsm8k.yaml, on answers whose extractions were worked out with Python's `re`.
    #[test]
    fn gsm8k_filters() {
        let strict = Pattern::new(r"#### (\-?[0-9\.\,]+)").expect("compiles");
        let flexible = Pattern::new(r"(-?[$0-9.,]{2,})|(-?[0-9]+)").expect("compiles");
        let strict = Extraction::find("strict-match", strict, 0);
        let flexible = Extraction::find("flexible-extract", flexible, -1);
        let check = |answer: &str, expected: [&str; 2]| {
            assert_eq!(strict.apply(answer).expect("ends"), expected[0], "{answer}");
            assert_eq!(flexible.apply(answer).expect("ends"), expected[1], "{answer}");
        };
        check("7 apples.\n#### 1,234 and #### 5", ["1,234", "5"]);
        check("The answer is -18.", ["[invalid]", "-18."]);
        check("It costs $3.50 for 2", ["[invalid]", "2"]);
        check("No number, though ... and ,,", ["[invalid]", ",,"]);
        check("nothing", ["[invalid]", "[invalid]"]);
    }

    #[test]
    fn matches_are_counted_from_both_ends() {
        let nth = |select| Extraction::find("n", Pattern::new("[a-z]+").expect("compiles"), select);
        let apply = |select| nth(select).apply("ab 1 cd").expect("ends");
        assert_eq!([0, 1, 2, -1, -2, -3].map(apply), ["ab", "cd", "[invalid]", "cd", "ab", "[invalid]"]);
        assert_eq!(Extraction::whole().apply(" a ").expect("ends"), " a ");
    }
}
