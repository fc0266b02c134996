//! Values that read texts in tokens of their own, served beside each other at weights of their requests.

mod served;

use std::thread;

use ivl_core::cross_tokenizer::{RetokenizedValue, Retokenizer, TokenEnd};
use ivl_core::decode::{Draft, EndTokens, GenerateConfig, Pace, Speculation};
use ivl_core::{CausalLm, Error, FusedLm, Value, VocabMap};
use ivl_models::Tokenizer;
use ivl_serve::{CrossTokenizer, Settings};
use served::{Served, encode, json, load, offline};

/// Cuts a text into single letters, where the base has longer tokens.
struct Letters(Tokenizer);

impl Retokenizer for Letters {
    fn tokenize(&self, text: &str) -> Result<Vec<TokenEnd>, Error> {
        let mut written = Vec::new();
        for (at, letter) in text.char_indices() {
            for token in self.0.tokenize(letter.encode_utf8(&mut [0; 4]))? {
                // The beginning of a text occurs once in the whole.
                if at == 0 || token.end > 0 {
                    written.push(TokenEnd { id: token.id, end: at + token.end });
                }
            }
        }
        Ok(written)
    }
}

fn crossed(alpha: f64) -> FusedLm {
    let (base, (value, tokenizer)) = (load("large").0, load("small"));
    let same = (0..base.vocab().size() as u32).map(|id| base.vocab().token(id).map(|_| id)).collect();
    let map = VocabMap::new(same, base.vocab(), value.vocab()).expect("ids in range");
    let value = RetokenizedValue::new(base.vocab(), Box::new(value), map, Box::new(Letters(tokenizer)));
    let value = Value::partial(Box::new(value.expect("a map of the two")), alpha);
    FusedLm::new(Box::new(base), vec![value]).expect("the base's ids")
}

const PROMPTS: [&str; 4] =
    ["Suna lives in", "Tara has a", "For lunch Rena has", "Question: What is the work of Vina?\nAnswer:"];

#[test]
fn such_a_value_writes_what_it_writes_offline_whoever_shares_the_steps() {
    let alphas = [0.0, 0.5, 1.25];
    let expected: Vec<Vec<String>> = alphas
        .iter()
        .map(|&alpha| {
            let lm = crossed(alpha);
            let config = GenerateConfig::default().max_new_tokens(24).end_tokens(EndTokens::none());
            PROMPTS.iter().map(|prompt| offline(&lm, &encode(prompt), &config).1).collect()
        })
        .collect();
    assert_ne!(expected[0], expected[2]);
    let plain = Served::of(crossed(1.0), Settings::default());
    let drafted = {
        let lm = crossed(1.0);
        let draft = Draft::model(Box::new(load("small").0), lm.vocab(), true).expect("one vocabulary");
        Served::start(lm, Some(Speculation::new(draft, Pace::fixed(3))), None, Settings::default())
    };
    for server in [&plain, &drafted] {
        let ask = |alpha: usize, prompt: usize| {
            let answer = server.complete(&json!({
                "prompt": PROMPTS[prompt], "max_tokens": 24, "temperature": 0, "ignore_eos": true,
                "ivl": {"values": [{"id": "small", "alpha": alphas[alpha]}]},
            }));
            assert_eq!(answer["choices"][0]["text"], expected[alpha][prompt], "weight {}", alphas[alpha]);
        };
        thread::scope(|scope| {
            for alpha in 0..alphas.len() {
                for prompt in 0..PROMPTS.len() {
                    scope.spawn(move || ask(alpha, prompt));
                }
            }
        });
        ask(1, 3);
        assert_eq!(server.metric("ivl_panics_total"), 0.0);
    }
    assert!(drafted.metric("ivl_speculative_accepted_total") > 0.0);
}

#[test]
fn a_prompt_that_the_value_cannot_read_is_refused() {
    let own = CrossTokenizer { tokenizer: load("small").1, max_positions: 5 };
    let server = Served::start(crossed(1.0), None, Some(own), Settings::default());
    let ask = |model: &str, prompt: &str| {
        server.post(
            "/v1/completions",
            &json!({"model": model, "prompt": prompt, "max_tokens": 2, "temperature": 0}),
        )
    };
    let refused = ask("small", PROMPTS[3]);
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("prompt")));
    assert!(refused.text().contains("to the value `small`, which reads 5"), "{}", refused.text());
    let explained = server.post("/v1/explain", &json!({"model": "small", "prompt": PROMPTS[3]}));
    assert_eq!(explained.status, 400);
    assert_eq!(ask("large", PROMPTS[3]).status, 200);
    assert_eq!(ask("small", "Suna").status, 200);
}
