//! Checkpoint directories as users have them: heads and embeddings, tensors without weights, end tokens, templates of a base with a
//! value. Each directory is a fixture with other files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Vocab};
use ivl_models::{
    ChatError, Checkpoint, Error, Message, Note, RenderOptions, TemplateChoice, TransformerLm,
    fused_end_tokens,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn tensors(name: &str) -> Tensors {
    let bytes = std::fs::read(fixtures().join(name).join("model.safetensors")).expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    file.iter()
        .map(|(name, tensor)| (name.to_owned(), (tensor.shape().to_vec(), tensor.data().to_vec())))
        .collect()
}

/// A directory with the configuration of a fixture, in which some fields are others, and these tensors.
fn directory(name: &str, fields: Value, tensors: &Tensors) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let json = std::fs::read(fixtures().join(name).join("config.json")).expect("config.json");
    let mut json: serde_json::Map<String, Value> = serde_json::from_slice(&json).expect("JSON");
    json.extend(fields.as_object().expect("fields").clone());
    std::fs::write(dir.path().join("config.json"), Value::Object(json).to_string()).expect("writes");
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).expect("writes");
    dir
}

fn logits(dir: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(dir).expect("opens");
    let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
    let tokens = (0..checkpoint.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    let lm = TransformerLm::new(net, Vocab::new(tokens), "test");
    let logits = lm
        .forward(token_tensor(&[1, 5, 9], 1, &lm.device()), &mut lm.new_cache(&[0]))
        .expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

fn notes(dir: &Path) -> Vec<Note> {
    Checkpoint::open(dir).expect("opens").notes().expect("notes")
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

#[test]
fn a_stored_head_that_is_not_the_embedding_is_the_head() {
    let mut stored = tensors("llama3");
    let tied = logits(directory("llama3", json!({}), &stored).path());

    // The same matrix twice is a tied head.
    stored.insert(HEAD.to_owned(), stored[EMBEDDING].clone());
    let twice = directory("llama3", json!({}), &stored);
    assert_eq!((logits(twice.path()), notes(twice.path())), (tied.clone(), Vec::new()));

    let (shape, bytes) = stored[EMBEDDING].clone();
    let halved = bytes
        .chunks(4)
        .flat_map(|b| (f32::from_le_bytes(b.try_into().expect("four")) / 2.0).to_le_bytes())
        .collect();
    stored.insert(HEAD.to_owned(), (shape, halved));
    let other = directory("llama3", json!({}), &stored);
    let untied = directory("llama3", json!({ "tie_word_embeddings": false }), &stored);
    let got = logits(other.path());
    assert_eq!(got, logits(untied.path()));
    assert!(got.iter().zip(&tied).all(|(half, whole)| (2.0 * half - whole).abs() < 1e-4));
    assert!(matches!(&notes(other.path())[..], [Note::HeadIsNotTied { head, .. }] if head == HEAD));
    assert_eq!(notes(untied.path()), []);
    // What starts from this model is written with a head of its own.
    let checkpoint = Checkpoint::open(other.path()).expect("opens");
    assert_eq!(checkpoint.json()["tie_word_embeddings"], false);
    let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
    let copy = tempfile::tempdir().expect("a directory");
    ivl_models::save(&net, checkpoint.json(), copy.path()).expect("saves");
    assert_eq!(logits(copy.path()), got);
}

#[test]
fn a_tied_matrix_may_be_stored_as_the_head_and_a_head_that_is_missing_is_an_error_that_says_so() {
    let mut stored = tensors("llama3");
    let tied = logits(directory("llama3", json!({}), &stored).path());
    let missing = directory("llama3", json!({ "tie_word_embeddings": false }), &stored);
    let error = Checkpoint::open(missing.path())
        .expect("opens")
        .load(&Device::flex(), DType::F32)
        .expect_err("no head");
    assert!(error.to_string().contains("set tie_word_embeddings to true"), "{error}");
    let matrix = stored.remove(EMBEDDING).expect("the embedding");
    stored.insert(HEAD.to_owned(), matrix);
    assert_eq!(logits(directory("llama3", json!({}), &stored).path()), tied);
}

#[test]
fn tensors_without_weights_are_a_note_and_unknown_weights_an_error() {
    let buffers = [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.1.self_attn.rotary_emb.cos_cached",
        "model.rotary_emb.sin_cached",
        "model.layers.0.self_attn._extra_state",
        "v_head.summary.weight",
        "v_head.summary.bias",
        "model.embed_tokens.position_ids",
    ];
    let mut stored = tensors("llama2");
    let plain = logits(directory("llama2", json!({}), &stored).path());
    stored.extend(buffers.map(|name| (name.to_owned(), (vec![2], vec![0; 8]))));
    let dir = directory("llama2", json!({}), &stored);
    assert_eq!(logits(dir.path()), plain);
    let notes = notes(dir.path());
    assert!(
        matches!(&notes[..], [Note::NotWeights { tensors, .. }] if tensors.len() == buffers.len()),
        "{notes:?}"
    );
    for (name, expected) in [
        ("model.layers.0.self_attn.mystery.weight", "mystery"),
        ("model.layers.0.mlp.up_proj.qweight", "quantised"),
    ] {
        let mut stored = stored.clone();
        stored.insert(name.to_owned(), (vec![2], vec![0; 8]));
        let dir = directory("llama2", json!({}), &stored);
        let error = Checkpoint::open(dir.path())
            .expect("opens")
            .load(&Device::flex(), DType::F32)
            .expect_err("unknown");
        assert!(matches!(error, Error::Weights { .. }) && error.to_string().contains(expected), "{error}");
    }
}

/// A directory with a tokenizer of 12 tokens, of which `<s>` and `<unk>` are special.
fn with_tokenizer(fields: Value, files: &[(&str, &str)]) -> tempfile::TempDir {
    let table = std::fs::read(fixtures().join("special_token_cases.json")).expect("the table");
    let table: Value = serde_json::from_slice(&table).expect("JSON");
    let dir = directory("llama2", fields, &Tensors::new());
    std::fs::write(dir.path().join("tokenizer.json"), table["tokenizer"].to_string()).expect("writes");
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).expect("writes");
    }
    dir
}

fn end_tokens(dir: &tempfile::TempDir) -> Result<Vec<u32>, Error> {
    let checkpoint = Checkpoint::open(dir.path())?;
    checkpoint.end_tokens(&checkpoint.tokenizer()?)
}

#[test]
fn end_tokens_are_checked_and_a_broken_generation_config_is_a_note() {
    let (config, generation) =
        (("tokenizer_config.json", r#"{"eos_token": "</s>"}"#), "generation_config.json");
    let dir =
        with_tokenizer(json!({ "eos_token_id": 4 }), &[config, (generation, r#"{"eos_token_id": [3, 2]}"#)]);
    assert_eq!(end_tokens(&dir).expect("ids"), [2, 3, 4]);
    let dir = with_tokenizer(json!({ "eos_token_id": 4 }), &[config, (generation, "{\"eos_token_id\": ")]);
    assert_eq!(end_tokens(&dir).expect("ids"), [2, 4]);
    let notes = notes(dir.path());
    assert!(matches!(&notes[..], [Note::GenerationConfig { .. }]), "{notes:?}");
    for id in ["4294967298", "-1", "1.5", "\"</s>\"", "112"] {
        let dir = with_tokenizer(json!({}), &[(generation, &format!("{{\"eos_token_id\": {id}}}"))]);
        let error = end_tokens(&dir).expect_err("no such token").to_string();
        assert!(
            error.contains("eos_token_id") && error.contains(generation) && error.contains(id),
            "{error}"
        );
    }
}

#[test]
fn one_rule_says_which_template_a_base_with_values_uses_and_where_its_turns_end() {
    let tokens = r#"{"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["<|im_end|>"]}"#;
    let template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    let base = with_tokenizer(
        json!({ "eos_token_id": 2 }),
        &[("tokenizer_config.json", tokens), ("chat_template.jinja", "base")],
    );
    let plain = with_tokenizer(json!({ "eos_token_id": 3 }), &[("tokenizer_config.json", tokens)]);
    let value = with_tokenizer(
        json!({ "eos_token_id": 2 }),
        &[("tokenizer_config.json", tokens), ("chat_template.jinja", template)],
    );
    let file = base.path().join("other.jinja");
    std::fs::write(&file, "{{ bos_token }}file").expect("writes");
    let values = [plain.path(), value.path()];
    let source = |choice: &str| {
        let choice: TemplateChoice = choice.parse().expect("any text is a choice");
        choice.find(base.path(), &values).map(|template| template.source().to_owned())
    };
    assert_eq!(source("value").expect("found"), template);
    assert_eq!(source("base").expect("found"), "base");
    assert_eq!(TemplateChoice::Value.find(base.path(), &values[..1]).expect("found").source(), "base");
    let of_file = TemplateChoice::File(file).find(base.path(), &values).expect("found");
    assert_eq!(of_file.render(&[], &RenderOptions::default()).expect("renders"), "<s>file");
    let none = TemplateChoice::Base.find(plain.path(), &values);
    assert!(matches!(none, Err(ChatError::NoTemplate { .. })), "{none:?}");

    let checkpoints = [&base, &plain, &value].map(|dir| Checkpoint::open(dir.path()).expect("opens"));
    let tokenizer = checkpoints[0].tokenizer().expect("a tokenizer");
    let turn_end = tokenizer.token_to_id("<|im_end|>").expect("added");
    let template = TemplateChoice::Value.find(base.path(), &values).expect("found");
    assert_eq!(template.end_tokens(&tokenizer), [turn_end]);
    let own = checkpoints.each_ref().map(|checkpoint| checkpoint.tokenizer().expect("a tokenizer"));
    let ends = |values: &[usize], template| {
        let values: Vec<_> = values.iter().map(|&value| (&checkpoints[value], &own[value])).collect();
        fused_end_tokens(&checkpoints[0], &tokenizer, &values, template).expect("ids")
    };
    assert_eq!(ends(&[], None), [2]);
    assert_eq!(ends(&[1], None), [2, 3]);
    assert_eq!(ends(&[1, 2], Some(&template)), [2, 3, turn_end]);
    // Nothing closes the turn but what opens the next.
    std::fs::write(
        value.path().join("chat_template.jinja"),
        "{% for m in messages %}<s>{{ m.content }}{% endfor %}",
    )
    .expect("writes");
    let opened = TemplateChoice::Value.find(base.path(), &values).expect("found");
    assert_eq!(opened.end_tokens(&tokenizer), [1]);
    assert_eq!(
        opened.render(&[Message::new("user", "a")], &RenderOptions::default()).expect("renders"),
        "<s>a"
    );
}
