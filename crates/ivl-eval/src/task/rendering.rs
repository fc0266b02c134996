//! Rows rendered by the templates of a task.

use ivl_models::{ChatTemplate, Message, RenderOptions, RowTemplate};
use serde_json::Value;

use super::compiled::Task;
use super::document::{Document, Gold};
use super::file::{ChoiceSource, OutputType};
use super::rows::TaskRow;
use crate::error::Error;

/// Number of a target that is not among the choices.
const NOWHERE: usize = usize::MAX;

impl Task {
    /// TaskRow `id` with `shots` examples before it, in a chat if there is a template.
    ///
    /// # Errors
    /// [`Error::Row`] or [`Error::Gives`] for a template that does not fit the row, [`Error::FewShots`], [`Error::Chat`].
    pub(crate) fn document(
        &self,
        id: usize,
        shots: usize,
        chat: Option<&ChatTemplate>,
    ) -> Result<Document, Error> {
        let row = &self.rows[id];
        let choices = self.choices(row)?;
        let gold = self.gold(row, &choices)?;
        if self.output_type() == OutputType::LoglikelihoodRolling {
            return Ok(Document { id, context: String::new(), continuations: Vec::new(), choices, gold });
        }
        let delimiter = if chat.is_some() { "" } else { &self.file.target_delimiter };
        let continuations = choices.iter().map(|choice| format!("{delimiter}{choice}")).collect();
        let context = self.context(row, shots, chat)?;
        Ok(Document { id, context, continuations, choices, gold })
    }

    /// The text whose words and bytes a perplexity is divided by.
    ///
    /// # Errors
    /// [`Error::Row`].
    pub(crate) fn counted(&self, document: &Document) -> Result<String, Error> {
        match &self.counted {
            Some(template) => render(template, "doc_to_count", &self.rows[document.id]),
            None => Ok(document.gold.text().to_owned()),
        }
    }

    /// The id of the row in another project's harness.
    ///
    /// # Errors
    /// [`Error::Row`].
    pub(crate) fn completion_id(&self, id: usize) -> Result<Option<String>, Error> {
        let template = self.completion_id.as_ref();
        template.map(|template| render(template, "completions.task_id", &self.rows[id])).transpose()
    }

    fn choices(&self, row: &TaskRow) -> Result<Vec<String>, Error> {
        let gives = |got: String| Error::Gives {
            place: row.place.clone(),
            key: "doc_to_choice",
            expected: "a list of texts",
            got,
        };
        match (&self.file.doc_to_choice, &self.choices) {
            (Some(ChoiceSource::List(choices)), _) => Ok(choices.clone()),
            (_, Some(template)) => {
                let value = evaluate(template, "doc_to_choice", row)?;
                let list = match listed(&value) {
                    Some(list) if !list.is_empty() => list,
                    _ => return Err(gives(value.to_string())),
                };
                list.into_iter()
                    .map(|choice| text_of(&choice).ok_or_else(|| gives(value.to_string())))
                    .collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The target, as lm-evaluation-harness reads targets: with choices, digits are a number of one of them.
    fn gold(&self, row: &TaskRow, choices: &[String]) -> Result<Gold, Error> {
        let Some(template) = &self.target else { return Ok(Gold::Texts(Vec::new())) };
        let value = evaluate(template, "doc_to_target", row)?;
        let several = listed(&value).unwrap_or_else(|| vec![value.clone()]);
        let gives = |expected| Error::Gives {
            place: row.place.clone(),
            key: "doc_to_target",
            expected,
            got: value.to_string(),
        };
        if self.file.doc_to_choice.is_none() {
            let texts = several.iter().map(text_of).collect::<Option<Vec<_>>>();
            return texts.map(Gold::Texts).ok_or_else(|| gives("a text, or a list of texts"));
        }
        let number = |target: &Value| match target {
            Value::Number(number) => number.as_u64().map(|number| number as usize),
            Value::Bool(right) => Some(usize::from(*right)),
            Value::String(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            Value::String(text) => Some(choices.iter().position(|choice| choice == text).unwrap_or(NOWHERE)),
            _ => None,
        };
        let numbers = several.iter().map(number).collect::<Option<Vec<_>>>();
        numbers.map(Gold::Choices).ok_or_else(|| gives("the number of a choice from 0, or a choice"))
    }

    /// Description, examples and prompt.
    fn context(&self, row: &TaskRow, shots: usize, chat: Option<&ChatTemplate>) -> Result<String, Error> {
        let mut turns = Vec::new();
        for shot in self.shots(row, shots)? {
            let choices = self.choices(shot)?;
            let answer = match self.gold(shot, &choices)? {
                Gold::Texts(texts) => texts.first().cloned().unwrap_or_default(),
                Gold::Choices(right) => {
                    right.first().and_then(|&right| choices.get(right)).cloned().ok_or_else(|| {
                        Error::Gives {
                            place: shot.place.clone(),
                            key: "doc_to_target",
                            expected: "one of the choices, since the row is an example",
                            got: format!("{right:?}"),
                        }
                    })?
                }
            };
            turns.push((self.text(shot)?, answer));
        }
        let prompt = self.text(row)?;
        let file = &self.file;
        let Some(chat) = chat else {
            let mut text = file.description.clone();
            for (question, answer) in turns {
                text.extend(
                    [&question, &file.target_delimiter, &answer, &file.fewshot_delimiter].map(String::as_str),
                );
            }
            return Ok(text + &prompt);
        };
        let mut messages = Vec::new();
        if !file.description.is_empty() {
            messages.push(Message::new("system", &file.description));
        }
        for (question, answer) in turns {
            messages.extend([Message::new("user", &question), Message::new("assistant", &answer)]);
        }
        messages.push(Message::new("user", &prompt));
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        match chat.render(&messages, &options) {
            // A template may refuse a system's turn; it is left out then.
            Err(_) if messages[0].role == "system" => Ok(chat.render(&messages[1..], &options)?),
            rendered => Ok(rendered?),
        }
    }

    /// The first examples; a row is no example of itself.
    fn shots(&self, row: &TaskRow, wanted: usize) -> Result<Vec<&TaskRow>, Error> {
        let pool = self.shots.as_ref().unwrap_or(&self.rows);
        let own = |shot: &&TaskRow| self.shots.is_some() || shot.fields != row.fields;
        let shots: Vec<&TaskRow> = pool.iter().filter(own).take(wanted).collect();
        match shots.len() {
            got if got < wanted => Err(Error::FewShots { task: self.name().to_owned(), wanted, got }),
            _ => Ok(shots),
        }
    }

    fn text(&self, row: &TaskRow) -> Result<String, Error> {
        render(&self.text, "doc_to_text", row)
    }
}

fn render(template: &RowTemplate, key: &'static str, row: &TaskRow) -> Result<String, Error> {
    template.text(&row.fields).map_err(|source| Error::Row { place: row.place.clone(), key, source })
}

fn evaluate(template: &RowTemplate, key: &'static str, row: &TaskRow) -> Result<Value, Error> {
    template.value(&row.fields).map_err(|source| Error::Row { place: row.place.clone(), key, source })
}

/// The items of a list, or of a text that is one in JSON.
fn listed(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) if text.trim().starts_with('[') => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        _ => None,
    }
}
