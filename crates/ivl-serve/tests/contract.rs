//! Requests and answers of clients, checked against the library.

mod served;

use ivl_core::CausalLm;
use ivl_core::decode::{EndTokens, GenerateConfig, SamplingConfig};
use ivl_core::score::{DistributionChange, score};
use ivl_core::tokens::token_tensor;
use served::{ALPHA, Answer, Json, Served, assert_alike, encode, fused, json, load, offline, request, send};

fn floats(list: &Json) -> Vec<Option<f64>> {
    list.as_array().expect("a list").iter().map(Json::as_f64).collect()
}

#[test]
fn scoring_gives_every_log_probability_that_score_gives() {
    let server = Served::new();
    let texts =
        ["Suna lives in Oslo.", "Tara", "Ünïcode ☃ and a longer line about Jomas, who works as a baker."];
    for (model, alpha) in [("large", 0.0), ("small", ALPHA)] {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| encode(text)).collect();
        let answer = server.complete(&json!({
            "model": model, "prompt": ids, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
            "echo": true, "some_field": [1],
        }));
        let lm = fused(alpha);
        for (index, (ids, choice)) in
            ids.iter().zip(answer["choices"].as_array().expect("choices")).enumerate()
        {
            assert_eq!(choice["index"], index);
            let logprobs = &choice["logprobs"];
            let ours = floats(&logprobs["token_logprobs"]);
            let tops = logprobs["top_logprobs"].as_array().expect("a list");
            assert_eq!((ours.len(), tops.len()), (ids.len() + 1, ids.len() + 1));
            let theirs = &score(&lm, &[ids]).expect("scores")[0].logprobs;
            assert!(ours[0].is_none() && tops[0].is_null());
            for (ours, theirs) in ours.iter().zip(theirs).skip(1) {
                let (ours, theirs) = (ours.expect("a number"), f64::from(theirs.expect("a number")));
                assert!((ours - theirs).abs() < 1e-5, "{ours} is not {theirs}");
            }
            // The most probable token by argmax is the one that the dictionary calls so, by equality of numbers.
            let logits = host_rows(&lm, ids);
            for (at, top) in tops.iter().enumerate().skip(1) {
                let best = top
                    .as_object()
                    .expect("a dictionary")
                    .values()
                    .filter_map(Json::as_f64)
                    .fold(f64::MIN, f64::max);
                let greedy =
                    argmax(&logits[at - 1]) == ids.get(at).copied().unwrap_or(argmax(&logits[at - 1]));
                assert_eq!(ours[at] == Some(best), greedy, "position {at} of {:?}", texts[index]);
            }
        }
    }
}

fn host_rows(lm: &dyn CausalLm, ids: &[u32]) -> Vec<Vec<f32>> {
    let logits =
        lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache");
    let size = lm.vocab().size();
    let all: Vec<f32> = logits.into_data().try_into_vec().expect("f32");
    all.chunks(size).map(<[f32]>::to_vec).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).expect("logits") as u32
}

#[test]
fn an_end_of_text_keeps_its_entry_and_offsets_count_characters() {
    let server = Served::new();
    let end = json!({"1": 100});
    let answer = server.complete(&json!({
        "model": "large", "prompt": "Ü☃ Suna", "max_tokens": 4, "temperature": 0, "logprobs": 0, "echo": true, "logit_bias": end,
    }));
    let choice = &answer["choices"][0];
    let (text, logprobs) = (choice["text"].as_str().expect("text"), &choice["logprobs"]);
    assert_eq!((text, &choice["finish_reason"]), ("Ü☃ Suna", &json!("stop")));
    let tokens = logprobs["tokens"].as_array().expect("tokens");
    assert_eq!(tokens.last(), Some(&json!("</s>")));
    assert_eq!(tokens.len(), encode("Ü☃ Suna").len() + 1);
    let offsets: Vec<usize> = logprobs["text_offset"]
        .as_array()
        .expect("offsets")
        .iter()
        .map(|o| o.as_u64().expect("a number") as usize)
        .collect();
    assert!(offsets.is_sorted() && *offsets.last().expect("one") == text.chars().count());
    for (token, &offset) in tokens.iter().zip(&offsets) {
        let token = token.as_str().expect("a string");
        let rest: String = text.chars().skip(offset).collect();
        assert!(
            token.starts_with("bytes:") || token.starts_with('<') || rest.starts_with(token),
            "{token:?} at {offset}"
        );
    }
    // The same prompt as ids.
    let ids = server.complete(&json!({
        "model": "large", "prompt": encode("Ü☃ Suna"), "max_tokens": 0, "logprobs": 0, "echo": true,
    }));
    assert_eq!(ids["choices"][0]["text"], "Ü☃ Suna");
    assert_eq!(ids["choices"][0]["logprobs"]["text_offset"].as_array().map(Vec::len), Some(tokens.len() - 1));
}

#[test]
fn prompts_come_in_four_shapes_and_greedy_text_is_that_of_generate() {
    let server = Served::new();
    let lm = fused(ALPHA);
    let texts = ["Suna lives in", "The home of Jomas"];
    let config = GenerateConfig::default().max_new_tokens(9).end_tokens(vec![1]);
    let alone: Vec<String> = texts.iter().map(|text| offline(&lm, &encode(text), &config).1).collect();
    let ask = |prompt: Json| {
        let answer =
            server.complete(&json!({"model": "small", "prompt": prompt, "temperature": 0, "max_tokens": 9}));
        let choices = answer["choices"].as_array().expect("choices").clone();
        choices.iter().map(|choice| choice["text"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ask(json!(texts[0])), alone[..1]);
    assert_eq!(ask(json!(texts)), alone);
    assert_eq!(ask(json!(encode(texts[1]))), alone[1..]);
    assert_eq!(ask(json!([encode(texts[0]), encode(texts[1])])), alone);
}

#[test]
fn seeds_draw_the_same_whatever_else_is_in_the_batch() {
    let server = Served::new();
    let sampling = SamplingConfig::default().temperature(1.2).top_p(0.9);
    let config =
        GenerateConfig::default().max_new_tokens(12).seed(7).sampling(sampling).end_tokens(EndTokens::none());
    let (_, alone) = offline(&load("large").0, &encode("Suna"), &config);
    let body = |n: usize| {
        json!({
            "model": "large", "prompt": ["Suna", "Tara has a"], "n": n, "seed": 7, "temperature": 1.2, "top_p": 0.9,
            "max_tokens": 12, "ignore_eos": true,
        })
    };
    let texts = |n| {
        let answer = server.complete(&body(n));
        let choices = answer["choices"].as_array().expect("choices").clone();
        choices
            .into_iter()
            .map(|choice| choice["text"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    let (one, four) = (texts(1), texts(4));
    assert_eq!((one[0].as_str(), one.len(), four.len()), (alone.as_str(), 2, 8));
    assert_eq!((&four[0], &four[4]), (&one[0], &one[1]));
    assert_ne!(four[0], four[1]);
}

#[test]
fn a_stream_says_what_the_whole_says() {
    let server = Served::new();
    let body = json!({
        "model": "small", "prompt": ["Suna lives in", "☃ Tara"], "n": 2, "seed": 3, "temperature": 0.8, "max_tokens": 10,
        "logprobs": 2, "stop": ["o", "zz"], "echo": true, "ivl": {"explain": true},
    });
    let whole = server.complete(&body);
    let mut streamed = body;
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let answer = server.post("/v1/completions", &streamed);
    assert!(answer.headers.contains("content-type: text/event-stream"), "{}", answer.headers);
    let mut events = answer.events();
    let usage = events.pop().expect("the usage")["usage"].clone();
    assert_eq!(usage, whole["usage"]);
    for choice in whole["choices"].as_array().expect("choices") {
        let about = |event: &&Json| event["choices"][0]["index"] == choice["index"];
        let parts: Vec<&Json> = events.iter().filter(about).map(|event| &event["choices"][0]).collect();
        assert!(parts.len() > 1);
        let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        assert_eq!(choice["text"], text);
        assert_eq!(choice["finish_reason"], parts.last().expect("one")["finish_reason"]);
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let all =
                parts.iter().flat_map(|part| part["logprobs"][list].as_array().cloned().unwrap_or_default());
            assert_alike(&choice["logprobs"][list], &all.collect::<Json>(), list);
        }
        let told =
            parts.iter().flat_map(|part| part["ivl"]["explain"].as_array().cloned().unwrap_or_default());
        assert_alike(&choice["ivl"]["explain"], &told.collect::<Json>(), "explain");
    }
}

#[test]
fn chats_use_the_template_and_count_their_tokens() {
    let server = Served::new();
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Where does Suna live?"}]}]);
    let ask = json!({
        "model": "small", "messages": messages, "temperature": 0, "max_completion_tokens": 6, "logprobs": true,
        "top_logprobs": 2,
    });
    let answer = server.post("/v1/chat/completions", &ask).json();
    let prompt = load("large").1.encode("Question: Where does Suna live?\nAnswer:", false).expect("encodes");
    let config = GenerateConfig::default().max_new_tokens(6).end_tokens(vec![1]);
    let (ids, text) = offline(&fused(ALPHA), &prompt, &config);
    assert_eq!(answer["choices"][0]["message"]["content"], text);
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(prompt.len()), &json!(ids.len()))
    );
    let content = answer["choices"][0]["logprobs"]["content"].as_array().expect("tokens");
    assert_eq!(content.len(), ids.len());
    assert_eq!(content[0]["logprob"], content[0]["top_logprobs"][0]["logprob"]);
    let tokens = server.post("/tokenize", &json!({"messages": messages})).json();
    assert_eq!(tokens["tokens"], json!(prompt));
    let refused =
        server.post("/v1/chat/completions", &json!({"messages": [{"role": "nobody", "content": ""}]}));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("messages")));
}

#[test]
fn changes_are_those_of_the_two_distributions() {
    let server = Served::new();
    let ids = encode("Suna lives in Oslo.");
    let ask = json!({"prompt": ids, "ivl": {"values": [{"id": "small", "alpha": -1.5}]}});
    let tokens = server.post("/v1/explain", &ask).json()["tokens"].as_array().expect("tokens").clone();
    assert_eq!(tokens.len(), ids.len());
    assert!(tokens[0]["delta"].is_null(), "nothing predicts the first");
    let (base, all) = (host_rows(&load("large").0, &ids), host_rows(&fused(-1.5), &ids));
    for (at, token) in tokens.iter().enumerate().skip(1) {
        let change = DistributionChange::between(&base[at - 1], &all[at - 1], ids[at]);
        assert_eq!((&token["id"], &token["flip"]), (&json!(ids[at]), &json!(change.flip)));
        assert_eq!(token["rank_after"], change.rank);
        for (name, ours) in [("delta", change.delta), ("kl", change.kl)] {
            let theirs = token[name].as_f64().expect("a number");
            assert!((theirs - f64::from(ours)).abs() < 1e-4, "{name}: {theirs} is not {ours}");
        }
    }
}

#[test]
fn the_tokenizer_is_there_for_clients_without_one() {
    let server = Served::new();
    let info = server.get("/tokenizer_info").json();
    assert_eq!(
        (&info["bos_token"], &info["eos_token"], &info["pad_token"]),
        (&json!("<s>"), &json!("</s>"), &Json::Null)
    );
    let tokens = |body: Json| server.post("/tokenize", &body).json()["tokens"].clone();
    assert_eq!(tokens(json!({"prompt": "Suna"})), json!(encode("Suna")));
    assert_eq!(tokens(json!({"prompt": "</s>", "add_special_tokens": false})), json!([1]));
    let back = server.post("/detokenize", &json!({"tokens": encode("Suna ☃")})).json();
    assert_eq!(back["prompt"], "<s>Suna ☃");
    assert_eq!(server.post("/detokenize", &json!({"tokens": [99999]})).status, 400);
    let models = server.get("/v1/models").json();
    let ids: Vec<&Json> =
        models["data"].as_array().expect("models").iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["large", "small"]);
}

#[test]
fn bad_requests_get_a_status_and_name_the_field() {
    let server = Served::new();
    let table = [
        (json!({}), 400, "prompt"),
        (json!({"prompt": ""}), 200, ""),
        (json!({"prompt": []}), 400, "prompt"),
        (json!({"prompt": [[]]}), 400, "prompt"),
        (json!({"prompt": [384]}), 400, "prompt"),
        (json!({"prompt": [-1]}), 400, "prompt"),
        (json!({"prompt": [1, "a"]}), 400, "prompt"),
        (json!({"prompt": vec![5; 256]}), 400, "prompt"),
        (json!({"prompt": "Suna ".repeat(60_000)}), 400, "prompt"),
        (json!({"prompt": "a", "model": "b"}), 404, "model"),
        (json!({"prompt": "a", "model": 7}), 400, "model"),
        (json!({"prompt": "a", "max_tokens": 255}), 400, "max_tokens"),
        (json!({"prompt": "a", "max_tokens": -3}), 400, "max_tokens"),
        (json!({"prompt": "a", "n": 0}), 400, "n"),
        (json!({"prompt": "a", "n": 129}), 400, "n"),
        (json!({"prompt": vec!["a"; 5], "n": 30}), 400, "n"),
        (json!({"prompt": "a", "temperature": "hot"}), 400, "temperature"),
        (json!({"prompt": "a", "top_p": 1.5}), 400, "top_p"),
        (json!({"prompt": "a", "stop": [1]}), 400, "stop"),
        (json!({"prompt": "a", "stop": vec!["x"; 17]}), 400, "stop"),
        (json!({"prompt": "a", "logit_bias": {"400": 1}}), 400, "logit_bias"),
        (json!({"prompt": "a", "logit_bias": {"4": 1e300}}), 400, "logit_bias"),
        (json!({"prompt": "a", "seed": 1.5}), 400, "seed"),
        (json!({"prompt": "a", "logprobs": 21}), 400, "logprobs"),
        (json!({"prompt": "a", "best_of": 3}), 400, "best_of"),
        (json!({"prompt": "a", "suffix": "b"}), 400, "suffix"),
        (json!({"prompt": "a", "stream_options": {}}), 400, "stream_options"),
        (json!({"prompt": "a", "response_format": {"type": "json_scheme"}}), 400, "response_format"),
        (json!({"prompt": "a", "ivl": 3}), 400, "ivl"),
        (json!({"prompt": "a", "ivl": {"values": [{"id": "nothing"}]}}), 400, "ivl.values"),
        (json!({"prompt": "a", "ivl": {"values": [{"id": "small"}, {"id": "small"}]}}), 400, "ivl.values"),
        (json!({"prompt": "a", "ivl": {"values": [{"id": "small", "alpha": "1"}]}}), 400, "ivl.values"),
        (json!({"prompt": "a", "seed": -5, "stop": [], "top_k": -1, "user": "u", "logprobs": null}), 200, ""),
    ];
    for (body, status, param) in table {
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        if status != 200 {
            let error = &answer.json()["error"];
            assert_eq!(error["param"], param, "{body}: {error}");
            assert!(
                error["message"].as_str().is_some_and(|text| !text.is_empty()) && error["type"].is_string()
            );
        }
    }
    let raw = |body: &str| -> Answer { send(server.address, &request("POST", "/v1/completions", "", body)) };
    for body in ["", "{", "[]", "\"a\"", "{\"prompt\": \"\\ud800\"}", &"[".repeat(100_000)] {
        let answer = raw(body);
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("malformed")),
            "{body:.40}"
        );
    }
    assert_eq!(server.get("/v1/completions").status, 405);
    assert_eq!(server.get("/v1/nothing").status, 404);
}
