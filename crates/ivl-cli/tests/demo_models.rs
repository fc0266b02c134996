//! The models that ship inside the program: each opens, and the larger know more of what all have read.

use burn::tensor::{DType, Device};
use ivl_core::decode::{EndTokens, GenerateConfig, generate};
use ivl_demo_models::{demonstrations, model, models};
use ivl_models::{Checkpoint, Message, RenderOptions};
use tempfile::TempDir;

/// How many of the first hundred facts that demonstrations ask for a model completes by itself.
fn known(name: &str) -> usize {
    let dir = TempDir::new().expect("a directory");
    let path = model(name).expect("a model").unpack(dir.path()).expect("writes");
    let checkpoint = Checkpoint::open(&path).expect("opens");
    let (lm, tokenizer) = checkpoint.load_lm(&Device::flex(), DType::F32).expect("loads");
    let questions = demonstrations();
    let cloze: Vec<(&str, &str)> = questions.iter().filter_map(|q| q.cloze()).take(100).collect();
    let prompts: Vec<Vec<u32>> =
        cloze.iter().map(|(text, _)| tokenizer.encode(text, true).expect("encodes")).collect();
    let config = GenerateConfig::default().max_new_tokens(8).end_tokens(EndTokens::none());
    let mut texts = vec![String::new(); cloze.len()];
    for step in generate(&lm, &prompts, &config).expect("starts") {
        let step = step.expect("a token");
        texts[step.row].push_str(&step.text);
    }
    cloze.iter().zip(&texts).filter(|((_, fact), text)| text.starts_with(fact)).count()
}

#[test]
fn larger_models_know_more_of_what_all_have_read() {
    let [small, medium, large] = ["small", "medium", "large"].map(known);
    assert!(large >= 90 && large > medium && medium > small + 15, "{small} {medium} {large}");
}

#[test]
fn the_continued_and_the_other_model_know_the_same_world() {
    // One value in twelve or more would be right by chance.
    assert!(known("continued") >= 25 && known("other") >= 40, "{} {}", known("continued"), known("other"));
}

#[test]
fn every_template_ends_where_an_answer_begins() {
    let question = &demonstrations()[0];
    let asked = Message::new("user", &question.question);
    let answered = [asked, Message::new("assistant", &question.answer)];
    for model in models() {
        let dir = TempDir::new().expect("a directory");
        let checkpoint = Checkpoint::open(&model.unpack(dir.path()).expect("writes")).expect("opens");
        let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
        let template = checkpoint.chat_template().expect("reads").expect("a template");
        let prompt = RenderOptions { add_generation_prompt: true, ..Default::default() };
        let ids = |messages: &[Message], options: &RenderOptions| {
            tokenizer.encode(&template.render(messages, options).expect("renders"), false).expect("encodes")
        };
        let (start, whole) = (ids(&answered[..1], &prompt), ids(&answered, &RenderOptions::default()));
        assert!(whole.starts_with(&start), "{}: {start:?} {whole:?}", model.name);
        assert!(checkpoint.end_tokens(&tokenizer).expect("end tokens").iter().any(|end| whole.contains(end)));
    }
}
