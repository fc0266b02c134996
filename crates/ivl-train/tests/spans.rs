//! The loss mask of conversations, against transformers: `fixtures/make_span_fixtures.py` says how.

use std::path::{Path, PathBuf};

use ivl_models::{ChatError, ChatTemplate, Message, Tokenizer};
use ivl_train::{Conversation, Demonstration, Encoder, Error, Place, Row};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    messages: Vec<Message>,
    ids: Vec<u32>,
    mask: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spans")
}

fn row(messages: &[Message]) -> Row {
    let place = Place { path: "fixture".into(), unit: "row", number: 1 };
    Row { place, demonstration: Demonstration::Conversation(Conversation::new(messages.to_vec())) }
}

/// The template in a file beside the special tokens that it names.
fn template(source: &str) -> ChatTemplate {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = "tokenizer_config.json";
    std::fs::copy(fixtures().join(config), dir.path().join(config)).expect("copies");
    let path = dir.path().join("chat_template.jinja");
    std::fs::write(&path, source).expect("writes");
    ChatTemplate::from_file(&path).expect("compiles")
}

#[test]
fn the_same_tokens_are_trained_as_by_transformers_with_and_without_generation_blocks() {
    let tokenizer = Tokenizer::from_file(&fixtures().join("tokenizer.json")).expect("a tokenizer");
    let cases = std::fs::read(fixtures().join("cases.json")).expect("cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("json");
    assert!(cases.len() >= 42);
    for case in cases {
        let unmarked = case.template.replace("{% generation %}", "").replace("{% endgeneration %}", "");
        assert_ne!(unmarked, case.template);
        for source in [&case.template, &unmarked] {
            let template = template(source);
            let example = Encoder::new(&tokenizer, Some(&template), 1 << 20).encode(&row(&case.messages));
            // transformers drops what this template has no words for; here that is an error.
            if case.name == "mistral" && case.messages[0].role == "system" {
                let error = example.expect_err("the template shows no system turn");
                assert!(
                    matches!(&error, Error::Render { source, .. } if matches!(**source, ChatError::RoleNotShown { turn: 0, .. })),
                    "{error:?}"
                );
                continue;
            }
            let example = example.expect(&case.name);
            assert_eq!(example.ids, case.ids, "{}", case.name);
            let mask: Vec<u8> = example.loss_mask.iter().map(|&trained| u8::from(trained)).collect();
            assert_eq!(mask, case.mask, "{} from {source}: {:?}", case.name, case.messages);
        }
    }
}

#[test]
fn given_turns_are_not_trained() {
    let tokenizer = Tokenizer::from_file(&fixtures().join("tokenizer.json")).expect("a tokenizer");
    let source = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    let turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "help"), ("assistant", "yes")];
    let messages: Vec<Message> = turns.iter().map(|(role, content)| Message::new(role, content)).collect();
    let conversation = Conversation { given: 2, ..Conversation::new(messages) };
    let row = Row { demonstration: Demonstration::Conversation(conversation), ..row(&[]) };
    let template = template(source);
    let example = Encoder::new(&tokenizer, Some(&template), 64).encode(&row).expect("encodes");
    let trained =
        example.ids.iter().zip(&example.loss_mask).filter(|(_, trained)| **trained).map(|(&id, _)| id);
    let trained: Vec<u32> = trained.collect();
    assert_eq!(tokenizer.decode(&trained, false).expect("decodes"), "yes</s>");
}

/// As in TRL: `chat_template_kwargs` are variables of the template, here of Qwen 3's kind.
#[test]
fn variables_of_a_row_reach_the_template_and_its_frame() {
    let tokenizer = Tokenizer::from_file(&fixtures().join("tokenizer.json")).expect("a tokenizer");
    let source = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}\
                  assistant:{% if hint is defined %}({{ hint }}){% endif %}{% endif %}";
    let source = source.replace(
        "{{ m.content }}",
        "{% if m.role == 'assistant' and hint is defined %}({{ hint }}){% endif %}{{ m.content }}",
    );
    let template = template(&source);
    let encoder = Encoder::new(&tokenizer, Some(&template), 64);
    let trained = |kwargs: &str| {
        let messages = [Message::new("user", "Hi"), Message::new("assistant", "yes")].to_vec();
        let template_kwargs = serde_json::from_str(kwargs).expect("an object");
        let conversation = Conversation { template_kwargs, ..Conversation::new(messages) };
        let row = Row { demonstration: Demonstration::Conversation(conversation), ..row(&[]) };
        let example = encoder.encode(&row).expect("encodes");
        let text = |wanted: bool| {
            let ids = example.ids.iter().zip(&example.loss_mask).filter(|(_, trained)| **trained || !wanted);
            tokenizer.decode(&ids.map(|(&id, _)| id).collect::<Vec<u32>>(), false).expect("decodes")
        };
        (text(false).contains("(no)"), text(true))
    };
    assert_eq!(trained("{}"), (false, "yes</s>".to_owned()));
    // The prompt of a generation has the hint too, so it is not trained.
    assert_eq!(trained("{\"hint\": \"no\"}"), (true, "yes</s>".to_owned()));
}

#[test]
fn a_token_beyond_the_logits_is_an_error_that_names_row_and_token() {
    let tokenizer = Tokenizer::from_file(&fixtures().join("tokenizer.json")).expect("a tokenizer");
    let place = Place { path: "fixture".into(), unit: "row", number: 1 };
    let row = Row { place, demonstration: Demonstration::Text("Hi".to_owned()) };
    let size = tokenizer.vocab().size();
    let example = Encoder::new(&tokenizer, None, 64).with_logits(size).encode(&row).expect("encodes");
    let largest = *example.ids.iter().max().expect("tokens");
    let error =
        Encoder::new(&tokenizer, None, 64).with_logits(largest as usize).encode(&row).expect_err("beyond");
    assert!(matches!(&error, Error::TokenBeyondLogits { id, .. } if *id == largest), "{error}");
    assert!(error.is_about_a_row());
}
