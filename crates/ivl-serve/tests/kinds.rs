//! Values of every kind beside each other: one that reads predictions, one that is added, one that is fused over bytes.

mod served;

use std::thread;

use ivl_core::cross_tokenizer::{ByteFusedLm, ByteFusion, ByteFusionConfig};
use ivl_core::decode::{Draft, EndTokens, GenerateConfig, Pace, Speculation};
use ivl_core::fusion::{BaseLm, CascadeLm};
use ivl_core::score::explain;
use ivl_core::{CausalLm, FusedLm, Value, VocabMap};
use ivl_models::{CascadeInput, CascadeNet};
use ivl_serve::{CrossTokenizer, Settings, explained_json};
use served::{Json, Served, encode, json, load, offline, value};

const NAMES: [&str; 3] = ["cascade", "added", "bytes"];

/// The model that the command line composes.
fn composed([cascade, added, bytes]: [f64; 3]) -> ByteFusedLm {
    let (net, vocab) = load("small").0.into_parts();
    let net = CascadeNet::new(net, CascadeInput::TextAndPredictions, vocab, "cascade");
    let lm = CascadeLm::new(Box::new(load("large").0), Box::new(net), cascade).expect("one vocabulary");
    let lm = FusedLm::on(lm, vec![Value::new(Box::new(load("small").0), added)]).expect("one vocabulary");
    let (value, tokenizer) = load("small");
    let map = VocabMap::same_ids(lm.vocab(), value.vocab()).expect("one vocabulary");
    ByteFusedLm::new(ByteFusion {
        base: lm.into(),
        reference: Box::new(load("large").0),
        value: Box::new(value),
        alpha: bytes,
        map: &map,
        tokenizer: Box::new(tokenizer),
        config: ByteFusionConfig::default(),
    })
    .expect("one vocabulary")
}

fn serve(speculation: Option<Speculation>, lm: ByteFusedLm) -> Served {
    let (value_lm, tokenizer) = load("small");
    let own = CrossTokenizer { tokenizer, max_positions: value_lm.max_positions() };
    let values =
        vec![value(NAMES[0], 1.0, None), value(NAMES[1], 1.0, None), value(NAMES[2], 1.0, Some(own))];
    Served::of_values(BaseLm::stack(lm), speculation, values, Settings::default())
}

/// The extension field for these weights.
fn asked(weights: [f64; 3]) -> Json {
    let values = NAMES.iter().zip(weights).filter(|(_, weight)| *weight != 0.0);
    let values: Vec<Json> = values.map(|(id, alpha)| json!({"id": id, "alpha": alpha})).collect();
    json!({"values": values})
}

const WEIGHTS: [[f64; 3]; 5] =
    [[0.0; 3], [0.7, 0.0, 0.0], [0.7, -0.5, 0.0], [0.0, 0.0, 0.8], [-0.3, 0.5, 0.2]];

const PROMPTS: [&str; 4] =
    ["Suna lives in", "Tara has a", "For lunch Rena has", "Question: What is the work of Vina?\nAnswer:"];

#[test]
fn every_kind_writes_what_it_writes_offline_whoever_shares_the_steps() {
    let expected: Vec<Vec<String>> = WEIGHTS
        .iter()
        .map(|&weights| {
            let lm = composed(weights);
            let config = GenerateConfig::default().max_new_tokens(16).end_tokens(EndTokens::none());
            PROMPTS.iter().map(|prompt| offline(&lm, &encode(prompt), &config).1).collect()
        })
        .collect();
    for at in 1..WEIGHTS.len() {
        assert_ne!(expected[0], expected[at], "{:?} change something", WEIGHTS[at]);
    }
    let lm = composed([1.0; 3]);
    let draft = Draft::model(Box::new(load("small").0), lm.vocab(), true).expect("one vocabulary");
    let drafted = serve(Some(Speculation::new(draft, Pace::fixed(3))), lm);
    for server in [&serve(None, composed([1.0; 3])), &drafted] {
        let ask = |weights: usize, prompt: usize| {
            let answer = server.complete(&json!({
                "prompt": PROMPTS[prompt], "max_tokens": 16, "temperature": 0, "ignore_eos": true,
                "ivl": asked(WEIGHTS[weights]),
            }));
            assert_eq!(answer["choices"][0]["text"], expected[weights][prompt], "{:?}", WEIGHTS[weights]);
        };
        thread::scope(|scope| {
            for weights in 0..WEIGHTS.len() {
                for prompt in 0..PROMPTS.len() {
                    scope.spawn(move || ask(weights, prompt));
                }
            }
        });
        // By itself, the last prompt goes on from what was read of it before.
        ask(4, 3);
        assert_eq!(server.metric("ivl_panics_total"), 0.0);
    }
    assert!(drafted.metric("ivl_speculative_accepted_total") > 0.0);
}

#[test]
fn each_value_answers_for_its_own_part() {
    let server = serve(None, composed([1.0; 3]));
    let ids = encode("Suna lives in Oslo.");
    for weights in WEIGHTS {
        let used: Vec<&str> = NAMES
            .into_iter()
            .zip(weights)
            .filter(|(_, weight)| *weight != 0.0)
            .map(|(name, _)| name)
            .collect();
        let answer = server.post("/v1/explain", &json!({"prompt": ids, "ivl": asked(weights)})).json();
        let named: Vec<&str> = answer["values"]
            .as_array()
            .expect("values")
            .iter()
            .filter_map(|value| value["name"].as_str())
            .collect();
        assert_eq!(named, used);
        let lm = composed(weights);
        for (at, explained) in explain(&lm, &ids).expect("explains").into_iter().enumerate() {
            // Offline all values are attached, those of weight 0 too: they have no part.
            let explained = explained.map(|mut explained| {
                let parts = explained.values.iter().zip(weights).filter(|(_, weight)| *weight != 0.0);
                explained.values = parts.map(|(part, _)| *part).collect();
                let pairs = [(0, 1), (0, 2), (1, 2)];
                let conflicts = explained.conflicts.iter().zip(pairs);
                let kept = conflicts.filter(|(_, (a, b))| weights[*a] != 0.0 && weights[*b] != 0.0);
                explained.conflicts = kept.map(|(conflict, _)| *conflict).collect();
                explained
            });
            let offline = explained_json(lm.vocab(), ids[at], explained.as_ref(), &used);
            served::assert_alike(&answer["tokens"][at], &offline, "explained");
        }
    }
}

#[test]
fn a_written_token_is_explained_as_a_given_one() {
    let lm = composed([1.0; 3]);
    let draft = Draft::model(Box::new(load("small").0), lm.vocab(), true).expect("one vocabulary");
    for server in [serve(None, composed([1.0; 3])), serve(Some(Speculation::new(draft, Pace::fixed(3))), lm)]
    {
        let mut ivl = asked(WEIGHTS[4]);
        ivl["explain"] = json!(true);
        let prompt = encode(PROMPTS[0]);
        let written = server.complete(&json!({
            "prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": true, "ivl": ivl,
        }));
        let written = written["choices"][0]["ivl"]["explain"].as_array().expect("tokens").clone();
        let ids = written.iter().map(|token| token["id"].as_u64().expect("an id") as u32);
        let all: Vec<u32> = prompt.iter().copied().chain(ids).collect();
        let given = server.post("/v1/explain", &json!({"prompt": all, "ivl": asked(WEIGHTS[4])})).json();
        for (at, token) in written.iter().enumerate() {
            assert_eq!(token["values"].as_array().map(Vec::len), Some(3));
            served::assert_alike(token, &given["tokens"][prompt.len() + at], "a written token");
        }
    }
}
