//! Matches and refusals of the methods.

use std::sync::atomic::{AtomicUsize, Ordering};

use ivl_align::{CooccurrenceCounter, Error, Match, Method, Pairing, TextPair, align};
use ivl_core::Vocab;
use ivl_core::cross_tokenizer::TokenEnd;
use ivl_core::vocab::{Role, Token};
use proptest::prelude::*;

fn vocab<T: AsRef<[u8]>>(tokens: &[T]) -> Vocab {
    Vocab::new(tokens.iter().map(|token| Some(Token::text(token.as_ref()))).collect())
}

/// The value's token for each base token, as text.
fn found(base: &Vocab, value: &Vocab, method: Method) -> Vec<Option<String>> {
    let map = align(base, value, method, None, &|_| ()).expect("aligns").map;
    let text = |id: u32| String::from_utf8_lossy(&value.token(id).expect("a token").bytes).into_owned();
    map.value_ids().iter().map(|id| id.map(text)).collect()
}

#[track_caller]
fn check(method: Method, base: &[&str], value: &[&str], expected: &[&str]) {
    let expected: Vec<Option<String>> =
        expected.iter().map(|token| (!token.is_empty()).then(|| (*token).to_owned())).collect();
    assert_eq!(found(&vocab(base), &vocab(value), method), expected);
}

#[test]
fn methods_by_hand() {
    let base = [" the", "understanding", "kitten", "☃", "zz"];
    let value = [" the", "under", "understood", "sitting", "bitten", "☂", "z"];
    check(Method::Exact, &base, &value, &[" the", "", "", "", ""]);
    // `understood` shares as much as `under stand` does: ten letters against five.
    check(Method::Prefix, &base, &value, &[" the", "understood", "", "", "z"]);
    check(Method::EditDistance, &base, &value, &[" the", "understood", "bitten", "☂", "z"]);
    check(Method::Hybrid, &base, &value, &[" the", "understood", "", "", "z"]);
}

#[test]
fn a_prefix_ends_between_characters_or_is_a_token_itself() {
    let snowman = "☃".as_bytes();
    let base = vocab(&["☃!".as_bytes(), b"!"]);
    let mark = Some("!".to_owned());
    assert_eq!(found(&base, &vocab(&["☂".as_bytes(), b"!"]), Method::Hybrid), [None, mark]);
    let value = vocab(&["☂".as_bytes(), &snowman[..2]]);
    let map = align(&base, &value, Method::Prefix, None, &|_| ()).expect("aligns").map;
    assert_eq!(map.value_id(0), Some(1), "the first two bytes, as a token");
    check(Method::Prefix, &["☃!"], &["☃?", "☃ yes"], &["☃?"]);
}

#[test]
fn bytes_by_number_meet_and_give_way_to_letters() {
    let base = Vocab::new(vec![Some(Token::text(*b"A")), Some(Token::byte(b'A')), Some(Token::byte(9))]);
    let value = Vocab::new(vec![Some(Token::byte(b'A')), Some(Token::text(*b"A")), Some(Token::text([9]))]);
    let map = align(&base, &value, Method::Exact, None, &|_| ()).expect("aligns").map;
    assert_eq!(map.value_ids(), [Some(1), Some(0), Some(2)]);
}

#[test]
fn control_tokens_meet_by_name_and_then_by_role() {
    let control = |names: &[&str]| -> Vec<Option<Token>> {
        let names = names.iter().map(|name| Some(Token::control(name)));
        names.chain([Some(Token::text(*b"a"))]).collect()
    };
    let base = Vocab::new(control(&["<|begin|>", "<|end|>", "<|eot|>", "<pad>", "<|other|>"]))
        .with_role(Role::Beginning, 0)
        .with_role(Role::End, 1)
        .with_role(Role::TurnEnd, 2);
    let value =
        Vocab::new(control(&["<pad>", "<s>", "</s>"])).with_role(Role::Beginning, 1).with_role(Role::End, 2);
    let alignment = align(&base, &value, Method::Hybrid, None, &|_| ()).expect("aligns");
    assert_eq!(alignment.map.value_ids(), [Some(1), Some(2), Some(2), Some(0), None, Some(3)]);
    let tokens = alignment.coverage.tokens;
    assert_eq!((tokens.exact, tokens.role, tokens.unmapped, tokens.total()), (2, 3, 1, 6));
    // A control token is not the text of its name.
    let base = Vocab::new(vec![Some(Token::control("<s>")), Some(Token::text(*b"a"))]);
    let value = vocab(&["<s>", "a"]);
    assert_eq!(found(&base, &value, Method::Hybrid), [None, Some("a".to_owned())]);
}

#[test]
fn a_corpus_decides_where_bytes_differ_and_weighs_the_report() {
    let base = vocab(&["under", "standing", "rare"]);
    let value = vocab(&["under", "st", "stand", "ing"]);
    let written = |tokens: &[(u32, usize)]| tokens.iter().map(|&(id, end)| TokenEnd { id, end }).collect();
    let text = TextPair { base: written(&[(0, 5), (1, 13)]), value: written(&[(0, 5), (1, 7), (3, 13)]) };
    let mut counter = CooccurrenceCounter::new(&base, &value, Pairing::SameStart);
    counter.count(&vec![text; 3]);
    let evidence = counter.finish();
    let map = |method| align(&base, &value, method, Some(&evidence), &|_| ()).expect("aligns");
    assert_eq!(map(Method::CoOccurrence).map.value_ids(), [Some(0), Some(1), None]);
    let hybrid = map(Method::Hybrid);
    assert_eq!(hybrid.map.value_ids(), [Some(0), Some(1), None]);
    let corpus = hybrid.coverage.corpus.expect("weighted");
    assert_eq!((corpus.exact, corpus.co_occurrence, corpus.unmapped), (3, 3, 0));
    assert_eq!(hybrid.coverage.examples[0].base, "standing", "the most frequent first");
    assert_eq!(hybrid.coverage.examples[0].how, Some(Match::CoOccurrence));
    assert!(
        hybrid.coverage.to_string().starts_with("tokens of the base: 33.33% exact (1)"),
        "{}",
        hybrid.coverage
    );
}

#[test]
fn impossible_pairs_are_refused() {
    let (text, empty) = (vocab(&["a"]), Vocab::new(vec![Some(Token::control("<s>")), None]));
    let refused =
        |base: &Vocab, value: &Vocab, method| align(base, value, method, None, &|_| ()).expect_err("refused");
    assert!(matches!(refused(&empty, &text, Method::Hybrid), Error::NoText { which: "base" }));
    assert!(matches!(refused(&text, &empty, Method::Hybrid), Error::NoText { which: "value" }));
    assert!(matches!(refused(&text, &Vocab::new(vec![]), Method::Exact), Error::NoText { which: "value" }));
    assert!(matches!(refused(&text, &vocab(&["b"]), Method::Exact), Error::NothingMapped { tokens: 1, .. }));
    let no_corpus = refused(&text, &text, Method::CoOccurrence);
    assert!(matches!(no_corpus, Error::NoCorpus { method: Method::CoOccurrence }), "{no_corpus}");
    // Counts without warping are no counts for the published method.
    let mut counter = CooccurrenceCounter::new(&text, &text, Pairing::SameStart);
    let word = vec![TokenEnd { id: 0, end: 1 }];
    counter.count(&[TextPair { base: word.clone(), value: word }]);
    let evidence = counter.finish();
    let published = align(&text, &text, Method::CoOccurrencePublished, Some(&evidence), &|_| ());
    assert!(matches!(published, Err(Error::NoCorpus { .. })));
}

#[test]
fn duplicates_are_all_mapped() {
    let (base, value) = (vocab(&["a", "a", "b"]), vocab(&["b", "a", "a"]));
    assert_eq!(
        align(&base, &value, Method::Hybrid, None, &|_| ()).expect("aligns").map.value_ids(),
        [Some(1), Some(1), Some(0)]
    );
}

proptest! {
    #[test]
    fn equal_vocabularies_align_to_the_identity(count in 1usize..200, padding in 0usize..9) {
        let tokens: Vec<Vec<u8>> = (0..count as u32).map(|id| id.to_be_bytes().to_vec()).collect();
        let base = vocab(&tokens).padded_to(count + padding);
        let counted = AtomicUsize::new(0);
        for method in [Method::Exact, Method::Prefix, Method::EditDistance, Method::Hybrid] {
            let progress = |count| { counted.fetch_add(count, Ordering::Relaxed); };
            let alignment = align(&base, &vocab(&tokens), method, None, &progress).expect("aligns");
            prop_assert_eq!(alignment.coverage.tokens.exact, count as u64);
            prop_assert_eq!(alignment.coverage.tokens.total(), count as u64);
            prop_assert!((0..count as u32).all(|id| alignment.map.value_id(id) == Some(id)));
            prop_assert_eq!(alignment.map.without_value().len(), padding);
        }
        prop_assert_eq!(counted.into_inner(), 3 * (count + padding), "all but `exact` search id by id");
    }

    #[test]
    fn matches_keep_their_word(
        base in prop::collection::vec(prop::collection::vec(b'a'..b'e', 1..5), 1..40),
        value in prop::collection::vec(prop::collection::vec(b'a'..b'e', 1..5), 1..40),
    ) {
        let (base, value) = (vocab(&base), vocab(&value));
        let shared = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        if let Ok(exact) = align(&base, &value, Method::Exact, None, &|_| ()) {
            for id in 0..base.size() as u32 {
                match exact.map.value_id(id) {
                    Some(other) => prop_assert_eq!(value.token(other), base.token(id)),
                    None => prop_assert!(value.iter().all(|token| token != base.token(id))),
                }
            }
        }
        if let Ok(prefix) = align(&base, &value, Method::Prefix, None, &|_| ()) {
            for id in 0..base.size() as u32 {
                let bytes = base.text_bytes(id);
                let most = (0..value.size() as u32).map(|other| shared(bytes, value.text_bytes(other))).max();
                let got = prefix.map.value_id(id).map_or(0, |other| shared(bytes, value.text_bytes(other)));
                prop_assert_eq!(Some(got), most);
            }
        }
    }
}
