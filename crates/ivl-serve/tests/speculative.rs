//! A server with a draft answers what one without a draft answers.

mod served;

use ivl_core::decode::{Draft, EndTokens, Pace, SamplingConfig, Speculation};
use ivl_serve::Settings;
use served::{ALPHA, Json, Served, encode, fused, json, load, offline};

const PROMPTS: [&str; 4] =
    ["Suna lives in", "Tara has a", "Question: What is the work of Vina?\nAnswer:", "Oslo Oslo Oslo"];

fn drafted(draft: impl FnOnce(&ivl_core::FusedLm) -> Draft) -> Served {
    let lm = fused(ALPHA);
    // A fixed length: times, which are not the same in every run, decide nothing.
    let speculation = Speculation::new(draft(&lm), Pace::fixed(4));
    Served::start(lm, Some(speculation), None, Settings::default())
}

fn by_small_base(lm: &ivl_core::FusedLm) -> Draft {
    Draft::model(Box::new(load("small").0), ivl_core::CausalLm::vocab(lm), true).expect("one vocabulary")
}

fn bodies() -> Vec<Json> {
    let mut bodies = Vec::new();
    for (seed, prompt) in PROMPTS.iter().enumerate() {
        for model in ["large", "small"] {
            let body =
                json!({"model": model, "prompt": prompt, "max_tokens": 40, "seed": seed, "logprobs": 2});
            let with = |more: Json| {
                let mut body = body.clone();
                body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
                body
            };
            bodies.push(with(json!({"temperature": 0, "ignore_eos": true})));
            bodies.push(with(json!({"temperature": 1.0, "ivl": {"explain": true}})));
            bodies.push(with(json!({
                "temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.5, "stop": ["a ", "."],
            })));
        }
    }
    bodies
}

/// The parts that do not depend on the rounding of sums, which differs between several positions and one.
fn without_numbers(answer: &Json) -> Json {
    let choice = &answer["choices"][0];
    json!([
        choice["text"],
        choice["logprobs"]["tokens"],
        choice["finish_reason"],
        answer["usage"]["completion_tokens"]
    ])
}

fn numbers(answer: &Json) -> Vec<f64> {
    let list = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().expect("a list");
    list.iter().filter_map(Json::as_f64).collect()
}

#[test]
fn a_draft_changes_no_answer_and_its_acceptance_is_measured() {
    let plain = Served::of(fused(ALPHA), Settings::default());
    for draft in [by_small_base, |_: &_| Draft::prompt_lookup(3).expect("at least 1")] {
        let server = drafted(draft);
        for body in bodies() {
            let (ours, theirs) = (server.complete(&body), plain.complete(&body));
            assert_eq!(without_numbers(&ours), without_numbers(&theirs), "{body}");
            for (ours, theirs) in numbers(&ours).iter().zip(numbers(&theirs)) {
                assert!((ours - theirs).abs() < 1e-4, "{ours} is not {theirs}: {body}");
            }
        }
        let [drafts, accepted, rounds] = ["drafted", "accepted", "rounds"]
            .map(|name| server.metric(&format!("ivl_speculative_{name}_total")));
        assert!(accepted > 20.0 && drafts >= accepted && rounds >= drafts / 4.0, "{accepted} of {drafts}");
        assert_eq!(server.metric("ivl_panics_total"), 0.0);
    }
    assert_eq!(plain.metric("ivl_speculative_drafted_total"), 0.0);
}

#[test]
fn texts_that_are_sometimes_alone_are_those_of_the_command_line() {
    let server = drafted(by_small_base);
    let lm = fused(ALPHA);
    std::thread::scope(|scope| {
        for (seed, prompt) in PROMPTS.into_iter().enumerate() {
            let server = &server;
            let sampling = SamplingConfig::default().temperature(1.0);
            let config = ivl_core::decode::GenerateConfig::default()
                .max_new_tokens(60 - 14 * seed)
                .sampling(sampling)
                .seed(seed as u64)
                .end_tokens(EndTokens::none());
            let expected = offline(&lm, &encode(prompt), &config).1;
            scope.spawn(move || {
                let body = json!({
                    "model": "small", "prompt": prompt, "max_tokens": config.max_new_tokens, "seed": seed,
                    "temperature": 1.0, "ignore_eos": true, "stream": seed % 2 == 1,
                });
                let answer = server.post("/v1/completions", &body);
                let text = if seed % 2 == 1 {
                    let events = answer.events();
                    events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
                } else {
                    answer.json()["choices"][0]["text"].as_str().expect("text").to_owned()
                };
                assert_eq!(text, expected, "{body}");
            });
        }
    });
    assert!(server.metric("ivl_speculative_accepted_total") > 0.0);
}
