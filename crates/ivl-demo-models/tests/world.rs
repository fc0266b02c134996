//! The texts and questions: stable, no questions in texts, no entity in two parts.

use std::collections::BTreeSet;

use ivl_demo_models::{
    Corpus, Question, QuestionSplit, World, demonstrations, final_test, held_out, questions,
};
use sha2::{Digest, Sha256};

fn fingerprint(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    hex::encode(hash.finalize())[..16].to_owned()
}

/// The models were trained on exactly these texts: if a fingerprint changes, they must be trained again.
#[test]
fn texts_and_questions_never_change() {
    let world = World::new();
    assert_eq!(fingerprint(Corpus::plain(&world, 1).take(5000)), "4756c2d03702d88b");
    assert_eq!(fingerprint(Corpus::ships(&world, 3).take(5000)), "0697d6b5bb15e3b0");
    assert_eq!(fingerprint(Corpus::varied(&world, 4).take(5000)), "0b32cb86eb7f7908");
    assert_eq!(fingerprint(Corpus::varied(&world, 2).take(5000)), "417a7f2bb43a6c51");
    let rows = |split| fingerprint(questions(&world, split).iter().map(|q| q.row().to_string()));
    assert_eq!(rows(QuestionSplit::Demonstrations), "f297f487219a2480");
    assert_eq!(rows(QuestionSplit::HeldOut), "0cca2b140267a27a");
    assert_eq!(rows(QuestionSplit::FinalTest), "3129ed249207737a");
}

#[test]
fn no_text_asks_or_has_the_form_of_a_conversation() {
    let world = World::new();
    let texts = Corpus::varied(&world, 4).take(20_000).chain(Corpus::ships(&world, 3).take(5000));
    for text in texts {
        for sign in ["?", "User", "Assistant", "Question", "Answer"] {
            assert!(!text.contains(sign), "`{sign}` in `{text}`");
        }
    }
}

#[test]
fn a_text_that_wonders_about_a_fact_does_not_tell_it() {
    let world = World::new();
    let entities = || world.people.iter().chain(&world.books).chain(&world.villages);
    let mut wondering = 0;
    for text in Corpus::varied(&world, 4).take(3000) {
        for entity in entities().filter(|entity| text.contains(&entity.name)) {
            for (attribute, value) in entity.attributes.iter().zip(&entity.values) {
                let name = |pattern: &str| pattern.replace("{n}", &entity.name).replace("{v}", value);
                let about = |pattern: &&str| name(pattern).split("{a}").all(|part| text.contains(part));
                if attribute.wonderings.iter().any(about) {
                    wondering += 1;
                    let told = attribute.tellings.iter().chain([&attribute.answer]);
                    assert!(told.clone().all(|pattern| !text.contains(&name(pattern))), "{text}");
                }
            }
        }
    }
    assert!(wondering > 1000, "{wondering}");
}

#[test]
fn nobody_is_in_two_parts_of_the_questions() {
    let about = |rows: Vec<Question>| rows.into_iter().map(|q| q.about).collect::<BTreeSet<_>>();
    let (shown, tuned, tested) = (about(demonstrations()), about(held_out()), about(final_test()));
    assert!(shown.is_disjoint(&tuned) && shown.is_disjoint(&tested) && tuned.is_disjoint(&tested));
    // 150 people, 54 books, 54 villages and 21 sums; twice as many to learn from.
    assert_eq!([shown.len(), tuned.len(), tested.len()], [558, 279, 279]);
}

#[test]
fn every_answer_is_a_sentence_of_the_texts_and_true() {
    let world = World::new();
    let texts: Vec<String> = Corpus::plain(&world, 1).take(50_000).collect();
    let texts = texts.join("\n");
    for row in held_out().iter().filter(|row| !row.kind.contains('+')) {
        assert!(texts.contains(&row.answer), "`{}` is told nowhere", row.answer);
    }
}
