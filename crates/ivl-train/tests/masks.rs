//! The loss mask of texts and completions, by tokenizers that add or trim.

use std::path::Path;

use ivl_models::{ChatTemplate, Message, Tokenizer};
use ivl_train::{
    Conversation, DataConfig, Dataset, Demonstration, Encoder, Example, Examples, OnError, Place, Row,
    SourceConfig,
};
use serde_json::{Value, json};

/// A byte-level tokenizer of single bytes with `<s>` and `</s>`; `change` edits its file.
fn tokenizer(change: impl FnOnce(&mut Value)) -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    let special = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    vocab.insert("<s>".to_owned(), json!(0));
    vocab.insert("</s>".to_owned(), json!(1));
    for (id, letter) in "abcdefgh:.#\u{120}\u{10a}".chars().enumerate() {
        vocab.insert(letter.to_string(), json!(id + 2));
    }
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocab, "merges": [] },
    });
    change(&mut file);
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).expect("writes");
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>" });
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).expect("writes");
    Tokenizer::from_file(&path).expect("a tokenizer")
}

/// A post-processor that adds tokens before and after a text, as `add_bos_token` and `add_eos_token` do.
fn adds(before: &[&str], after: &[&str]) -> Value {
    let token = |name: &&str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let single: Vec<Value> = before.iter().map(token).chain([text]).chain(after.iter().map(token)).collect();
    json!({
        "type": "TemplateProcessing", "single": single, "pair": [],
        "special_tokens": {
            "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] },
            "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] },
        },
    })
}

fn row(demonstration: Demonstration) -> Row {
    Row { place: Place { path: "fixture".into(), unit: "row", number: 1 }, demonstration }
}

fn completion(prompt: &str, completion: &str) -> Row {
    row(Demonstration::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() })
}

/// Ids, and the trained ones of them.
fn split(example: &Example) -> (Vec<u32>, Vec<u32>) {
    let trained = example.ids.iter().zip(&example.loss_mask).filter(|(_, trained)| **trained);
    (example.ids.clone(), trained.map(|(&id, _)| id).collect())
}

#[test]
fn the_end_is_trained_and_there_once_whoever_adds_it() {
    for (before, after) in [(&[][..], &[][..]), (&["<s>"], &[]), (&[], &["</s>"]), (&["<s>"], &["</s>"])] {
        let tokenizer = tokenizer(|file| file["post_processor"] = adds(before, after));
        let encoder = Encoder::new(&tokenizer, None, 64);
        let beginning: &[u32] = if before.is_empty() { &[] } else { &[0] };
        for (prompt, answer) in [("a:", "b"), ("<s>a:", "b"), ("a:", "b</s>"), ("<s>a:", "b</s>")] {
            let example = encoder.encode(&completion(prompt, answer)).expect("encodes");
            let (ids, trained) = split(&example);
            let starts = if prompt.starts_with('<') { &[0][..] } else { beginning };
            assert_eq!(ids, [starts, &[2, 10, 3, 1]].concat(), "{before:?} {after:?} {prompt} {answer}");
            assert_eq!(trained, [3, 1], "{before:?} {after:?} {prompt} {answer}");
        }
        let text = encoder.encode(&row(Demonstration::Text("ab".to_owned()))).expect("encodes");
        assert_eq!(split(&text), ([beginning, &[2, 3, 1]].concat(), vec![2, 3, 1]));
    }
}

#[test]
fn blanks_are_trained_where_the_tokenizer_gives_them_no_bytes() {
    let trimming =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let plain = tokenizer(|_| ());
    let trimmed = tokenizer(|file| file["post_processor"] = trimming);
    for (prompt, answer) in [("a:", " b  c"), ("a: ", "b  "), ("a  b:", "  "), ("a:\n", " \n c \n")] {
        let mask = |tokenizer| {
            Encoder::new(tokenizer, None, 64).encode(&completion(prompt, answer)).expect("encodes")
        };
        assert_eq!(mask(&trimmed), mask(&plain), "{prompt:?} {answer:?}");
    }
}

#[test]
fn alpacas_prompt_is_the_published_one() {
    let row = Row {
        demonstration: Demonstration::Instruction {
            instruction: "a".to_owned(),
            input: String::new(),
            output: "b".to_owned(),
            system: String::new(),
        },
        ..completion("", "")
    };
    let all = Tokenizer::from_file(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spans/tokenizer.json"),
    )
    .expect("a tokenizer");
    let example = Encoder::new(&all, None, 999).encode(&row).expect("encodes");
    let (ids, trained) = split(&example);
    let text = all.decode(&ids, false).expect("decodes");
    assert!(text.contains("\n\n### Instruction:\na\n\n### Response:b"), "{text}");
    assert!(all.decode(&trained, false).expect("decodes").starts_with('b'));
}

const TURNS: &str = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";

/// The template in a file beside the tokens that it names.
fn template() -> ChatTemplate {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"eos_token":"</s>"}"#).expect("writes");
    std::fs::write(dir.path().join("chat_template.jinja"), TURNS).expect("writes");
    ChatTemplate::from_file(&dir.path().join("chat_template.jinja")).expect("compiles")
}

#[test]
fn turns_are_trained_as_their_weights_say_or_only_the_last() {
    let (tokenizer, template) = (tokenizer(|_| ()), template());
    let turns = [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
        ("user", "e"),
        ("assistant", "f"),
    ];
    let messages: Vec<Message> = turns.iter().map(|(role, content)| Message::new(role, content)).collect();
    let trained = |untrained: &[usize], data: &DataConfig| {
        let conversation =
            Conversation { untrained: untrained.to_vec(), ..Conversation::new(messages.clone()) };
        let encoder = Encoder::new(&tokenizer, Some(&template), 64).with_data(data);
        split(&encoder.encode(&row(Demonstration::Conversation(conversation))).expect("encodes")).1
    };
    let mut data = DataConfig::new(Vec::new());
    assert_eq!(trained(&[], &data), [3, 1, 5, 1, 7, 1]);
    assert_eq!(trained(&[3], &data), [3, 1, 7, 1]);
    assert_eq!(trained(&[1, 3, 5], &data), [0; 0]);
    data.last_turn_only = true;
    assert_eq!(trained(&[], &data), [7, 1]);
    assert_eq!(trained(&[5], &data), [5, 1]);
}

#[test]
fn broken_and_long_rows_are_counted_if_the_run_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("rows.jsonl");
    let rows =
        [r#"{"text":"ab"}"#, r#"{"text":1}"#, r#"{"text":"#, r#"{"text":"abcdefgh"}"#, r#"{"text":"cd"}"#];
    std::fs::write(&path, rows.join("\n")).expect("writes");
    let tokenizer = tokenizer(|_| ());
    let dataset = Dataset::open(&[SourceConfig::new(&path)]).expect("opens");
    let encode = |data: &DataConfig| {
        let encoder = Encoder::new(&tokenizer, None, 4).with_data(data);
        Examples::encode(&dataset, &encoder, "data.train", &dir.path().join("cache"), &mut |_| ())
    };
    let mut data = DataConfig::new(Vec::new());
    let error = encode(&data).expect_err("fails").to_string();
    assert!(error.starts_with("line 2 of `"), "{error}");
    data.on_error = OnError::Skip;
    let examples = encode(&data).expect("encodes");
    let report = &examples.reports()[0];
    assert_eq!((report.rows, report.examples, report.skipped, report.truncated), (5, 3, 2, 1));
    let first = report.first_error.as_deref().expect("an error");
    assert!(first.starts_with("line 2 of `") && first.contains("a number in `text`"), "{first}");
    data.drop_longer = true;
    let examples = encode(&data).expect("encodes");
    let report = &examples.reports()[0];
    assert_eq!((report.examples, report.too_long, report.truncated), (2, 1, 0));
    assert_eq!(examples.get(1).expect("reads").ids, [4, 5, 1]);
}
