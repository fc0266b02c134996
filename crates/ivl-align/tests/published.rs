//! The published method against plain Python (`fixtures/make_counts.py`): the same counts, the same matrix.

use ivl_align::{CooccurrenceCounter, Method, Pairing, TextPair, align};
use ivl_core::Vocab;
use ivl_core::cross_tokenizer::TokenEnd;
use ivl_core::vocab::Token;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Fixture {
    base: Vec<Vec<u8>>,
    value: Vec<Vec<u8>>,
    texts: Vec<Text>,
    counts: Vec<(u32, u32, u64)>,
    best: Vec<Option<(u32, f64)>>,
}

#[derive(Debug, Deserialize)]
struct Text {
    base: Vec<u32>,
    value: Vec<u32>,
}

fn vocab(tokens: &[Vec<u8>]) -> Vocab {
    Vocab::new(tokens.iter().map(|token| Some(Token::text(token.clone()))).collect())
}

fn written(ids: &[u32], vocab: &Vocab) -> Vec<TokenEnd> {
    let mut end = 0;
    let write = |&id: &u32| {
        end += vocab.text_bytes(id).len();
        TokenEnd { id, end }
    };
    ids.iter().map(write).collect()
}

#[test]
fn counts_and_weights_are_those_of_plain_python() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/counts.json")).expect("JSON");
    let (base, value) = (vocab(&fixture.base), vocab(&fixture.value));
    let pair =
        |text: &Text| TextPair { base: written(&text.base, &base), value: written(&text.value, &value) };
    let texts: Vec<TextPair> = fixture.texts.iter().map(pair).collect();
    let mut counter = CooccurrenceCounter::new(&base, &value, Pairing::Dtw);
    counter.count(&texts[..17]);
    counter.count(&texts[17..]);
    let evidence = counter.finish();
    assert_eq!(evidence.dtw_pairs(), fixture.counts);

    let alignment =
        align(&base, &value, Method::CoOccurrencePublished, Some(&evidence), &|_| ()).expect("aligns");
    for (id, best) in fixture.best.iter().enumerate() {
        let map = &alignment.map;
        assert_eq!(map.value_id(id as u32), best.map(|(other, _)| other), "id {id}");
        if let Some((_, weight)) = best {
            assert!((f64::from(map.weight(id as u32)) - weight).abs() < 1e-6, "id {id}");
        }
    }
}
