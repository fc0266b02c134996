//! Chat templates against transformers, on fixtures that `fixtures/make_text_fixtures.py` made.

use std::path::{Path, PathBuf};

use ivl_models::{ChatError, ChatTemplate, Message, RenderOptions};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Golden {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    tools: Option<Vec<serde_json::Value>>,
    rendered: Option<String>,
    error: Option<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat")
}

#[test]
fn every_template_renders_as_in_transformers() {
    let (mut checked, mut refused) = (0, 0);
    for entry in std::fs::read_dir(fixtures()).expect("fixtures") {
        let dir = entry.expect("entry").path();
        let template = ChatTemplate::from_dir(&dir).expect("compiles").expect("a template");
        let golden = std::fs::read(dir.join("golden.json")).expect("golden");
        let golden: Vec<Golden> = serde_json::from_slice(&golden).expect("json");
        for (index, golden) in golden.into_iter().enumerate() {
            let options = RenderOptions {
                add_generation_prompt: golden.add_generation_prompt,
                tools: golden.tools,
                ..RenderOptions::default()
            };
            let rendered = template.render(&golden.messages, &options);
            let what = format!("{} conversation {index}", dir.display());
            if let (Err(error), Some(text)) = (&rendered, &golden.rendered)
                && let Some(dropped) = dropped(error, &golden.messages)
            {
                assert!(!text.contains(&dropped), "{what}: {error}, but transformers shows {dropped:?}");
                refused += 1;
                continue;
            }
            match golden.rendered {
                Some(expected) => assert_eq!(rendered.expect(&what), expected, "{what}"),
                None => assert!(rendered.is_err(), "{what}: transformers refuses with {:?}", golden.error),
            }
            checked += 1;
        }
    }
    assert!(checked >= 36 && refused >= 1, "{checked} conversations, {refused} refused");
}

/// What transformers drops or writes as Python's spelling of a list, and is an error here.
fn dropped(error: &ChatError, messages: &[Message]) -> Option<String> {
    match error {
        ChatError::RoleNotShown { turn, .. } => messages[*turn].content.as_str().map(str::to_owned),
        ChatError::PartNotText { .. } => Some("<image>".to_owned()),
        _ => None,
    }
}

#[test]
fn a_directory_without_a_template_has_none() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(ChatTemplate::from_dir(dir.path()).expect("reads").is_none());
    std::fs::write(dir.path().join("tokenizer_config.json"), "{\"chat_template\": null}").expect("writes");
    assert!(ChatTemplate::from_dir(dir.path()).expect("reads").is_none());
    std::fs::write(dir.path().join("chat_template.jinja"), "{% for %}").expect("writes");
    let error = ChatTemplate::from_dir(dir.path()).expect_err("refused").to_string();
    assert!(error.contains("chat_template.jinja` does not compile"), "{error}");
}

#[derive(Debug, Deserialize)]
struct JinjaTable {
    variables: serde_json::Map<String, serde_json::Value>,
    cases: Vec<(String, Option<String>)>,
}

/// Differences of minijinja: it has no tuples, which print as lists, and `~` writes small floats in full.
const OTHERWISE: [&str; 11] = [
    "{{ s.partition(' ') }}",
    "{{ s.partition('zz') }}",
    "{{ s.rpartition('o') }}",
    "{{ s.rpartition('zz') }}",
    "{{ d.items()|list }}",
    "{{ d|items|list }}",
    "{{ d|dictsort }}",
    "{{ (1, 2) }}",
    "{{ (1,) }}",
    "{{ s ~ tiny }}",
    "{{ s ~ huge }}",
];

#[test]
fn methods_filters_and_values_are_those_of_jinja2_in_python() {
    let table = std::fs::read(fixtures().join("../jinja_cases.json")).expect("the table");
    let table: JinjaTable = serde_json::from_slice(&table).expect("JSON");
    assert!(table.cases.len() > 450);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("chat_template.jinja");
    let options = RenderOptions { extra: table.variables, ..RenderOptions::default() };
    let mut wrong = Vec::new();
    for (source, expected) in &table.cases {
        std::fs::write(&path, source).expect("writes");
        let rendered = ChatTemplate::from_file(&path).and_then(|template| template.render(&[], &options));
        if rendered.as_ref().ok() != expected.as_ref() && !OTHERWISE.contains(&source.as_str()) {
            wrong.push(format!("{source}: {rendered:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(Debug, Deserialize)]
struct MessageTable {
    templates: Vec<String>,
    conversations: Vec<Vec<Message>>,
    cases: Vec<(usize, usize, Option<String>)>,
}

#[test]
fn templates_see_of_messages_what_transformers_lets_them_see() {
    let table = std::fs::read(fixtures().join("../message_cases.json")).expect("the table");
    let table: MessageTable = serde_json::from_slice(&table).expect("JSON");
    assert!(table.cases.len() >= 40);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("chat_template.jinja");
    for (template, conversation, expected) in &table.cases {
        std::fs::write(&path, &table.templates[*template]).expect("writes");
        let messages = &table.conversations[*conversation];
        let rendered =
            ChatTemplate::from_file(&path).and_then(|t| t.render(messages, &RenderOptions::default()));
        assert_eq!(rendered.ok(), *expected, "{messages:?} in {}", table.templates[*template]);
    }
}
