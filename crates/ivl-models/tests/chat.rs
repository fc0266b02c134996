//! Chat templates against transformers, on fixtures that `fixtures/make_text_fixtures.py` made.

use std::path::{Path, PathBuf};

use ivl_models::{ChatTemplate, Message, RenderOptions};
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
    let mut checked = 0;
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
            match golden.rendered {
                Some(expected) => assert_eq!(rendered.expect(&what), expected, "{what}"),
                None => assert!(rendered.is_err(), "{what}: transformers refuses with {:?}", golden.error),
            }
            checked += 1;
        }
    }
    assert!(checked >= 50, "{checked} conversations");
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
