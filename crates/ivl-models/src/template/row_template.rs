//! Templates over the fields of one row of data, as lm-evaluation-harness renders them.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::Pattern;
use crate::template::jinja::{python_environment, python_source};

/// Errors of a template of rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowTemplateError {
    /// The template is no valid Jinja.
    #[error("the template does not compile")]
    Compile(#[source] Box<minijinja::Error>),
    /// The template failed on a row: most often a field that the row does not have.
    #[error("the template cannot render the row, which has the fields {fields}")]
    Render {
        /// The fields of the row.
        fields: String,
        /// The reason.
        #[source]
        source: Box<minijinja::Error>,
    },
}

/// A template over the fields of a row: the name of a field is the field itself, everything else is Jinja.
///
/// The environment is that of lm-evaluation-harness 0.4: a field that is missing is an error, a newline at the end is
/// kept, and `regex_replace(pattern, replacement)` is `re.sub`.
#[derive(Debug, Clone)]
pub struct RowTemplate {
    source: String,
    /// The one expression that the template consists of, if it does.
    expression: Option<String>,
    environment: Arc<Environment<'static>>,
}

const NAME: &str = "row";

impl RowTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`RowTemplateError::Compile`].
    pub fn new(source: &str) -> Result<Self, RowTemplateError> {
        let compile = |error| RowTemplateError::Compile(Box::new(error));
        let mut environment = python_environment();
        environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(compile)?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("regex_replace", regex_replace);
        environment.add_template_owned(NAME, python_source(source)).map_err(compile)?;
        let expression = lone_expression(source).map(str::to_owned);
        if let Some(expression) = &expression {
            environment.compile_expression(expression).map_err(compile)?;
        }
        Ok(Self { source: source.to_owned(), expression, environment: Arc::new(environment) })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a row. A field that is no text is written as Jinja writes it.
    ///
    /// # Errors
    /// [`RowTemplateError::Render`].
    pub fn text(&self, row: &Map<String, Value>) -> Result<String, RowTemplateError> {
        if let Some(Value::String(text)) = row.get(&self.source) {
            return Ok(text.clone());
        }
        let template = self.environment.get_template(NAME).map_err(|error| render(row, error))?;
        let context = match row.get(&self.source) {
            Some(field) => return Ok(field.to_string()),
            None => minijinja::value::Serde(row),
        };
        template.render(context).map_err(|error| render(row, error))
    }

    /// The value of the template for a row: the field that it names, the value of the one expression that it consists of (a
    /// list stays a list), else its text.
    ///
    /// # Errors
    /// [`RowTemplateError::Render`].
    pub fn value(&self, row: &Map<String, Value>) -> Result<Value, RowTemplateError> {
        if let Some(field) = row.get(&self.source) {
            return Ok(field.clone());
        }
        let Some(expression) = &self.expression else { return self.text(row).map(Value::String) };
        let failed = |error| render(row, error);
        let expression = self.environment.compile_expression(expression).map_err(failed)?;
        let value = expression.eval(minijinja::value::Serde(row)).map_err(failed)?;
        if value.is_undefined() {
            return Err(failed(ErrorKind::UndefinedError.into()));
        }
        serde_json::to_value(&value)
            .map_err(|error| failed(minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())))
    }
}

fn render(row: &Map<String, Value>, error: minijinja::Error) -> RowTemplateError {
    const SHOWN: usize = 24;
    let mut fields: Vec<String> = row.keys().take(SHOWN).map(|field| format!("`{field}`")).collect();
    if row.len() > SHOWN {
        fields.push(format!("and {} more", row.len() - SHOWN));
    }
    RowTemplateError::Render { fields: fields.join(", "), source: Box::new(error) }
}

/// The expression of a template that is nothing but `{{ expression }}`.
fn lone_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.trim_start_matches(['-', '+']).trim_end_matches('-');
    (!inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%")).then_some(inner.trim())
}

fn regex_replace(text: &str, pattern: &str, replacement: &str) -> Result<String, minijinja::Error> {
    let failed =
        |error| minijinja::Error::new(ErrorKind::InvalidOperation, "regex_replace").with_source(error);
    Pattern::new(pattern).and_then(|pattern| pattern.replace_all(text, replacement)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Map<String, Value> {
        let row = json!({
            "question": "Why?\n", "number": 3, "right": true, "key": "B",
            "choices": { "text": ["no", "yes"], "label": ["A", "B"] },
        });
        row.as_object().cloned().expect("an object")
    }

    #[test]
    fn texts_and_values_are_those_of_jinja() {
        let text = |source: &str| RowTemplate::new(source).expect("compiles").text(&row()).expect("renders");
        let value =
            |source: &str| RowTemplate::new(source).expect("compiles").value(&row()).expect("renders");
        assert_eq!(text("Q: {{question}}\nA:\n"), "Q: Why?\n\nA:\n");
        assert_eq!(text("question"), "Why?\n");
        assert_eq!(text("{{right}} {{ number + 1 }}"), "True 4");
        assert_eq!(text("{{ question.strip().lower() | regex_replace('(w)', '\\\\1-') }}"), "w-hy?");
        assert_eq!(value("{{choices.label.index(key)}}"), json!(1));
        assert_eq!(value("{{ choices.text }}"), json!(["no", "yes"]));
        assert_eq!(value("number"), json!(3));
        assert_eq!(value("{{number}} apples"), json!("3 apples"));
    }

    #[test]
    fn a_missing_field_and_a_broken_template_are_errors() {
        let missing = RowTemplate::new("{{ answer }}").expect("compiles");
        for error in [missing.text(&row()).err(), missing.value(&row()).err()] {
            assert!(error.expect("an error").to_string().contains("`question`, `number`"));
        }
        assert!(RowTemplate::new("{{ answer").is_err());
        let pattern = RowTemplate::new("{{ question | regex_replace('(', '') }}").expect("compiles");
        assert!(pattern.text(&row()).is_err());
    }
}
