//! Fields beyond the OpenAI API, and what the server says to fields that it does not support.

mod served;

use ivl_core::decode::{Draft, Pace, Speculation};
use ivl_core::fusion::BaseLm;
use ivl_models::Tokenizer;
use ivl_serve::Settings;
use served::{Json, Served, encode, json, load};

/// A greedy completion of `Suna lives in` by `large` with more fields.
fn greedy(server: &Served, more: &Json) -> Json {
    let mut body = json!({"model": "large", "prompt": "Suna lives in", "temperature": 0, "max_tokens": 12, "logprobs": 0});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    server.complete(&body)["choices"][0].clone()
}

fn text(choice: &Json) -> String {
    choice["text"].as_str().expect("text").to_owned()
}

/// The ids of a choice, which has log-probabilities.
fn ids(choice: &Json) -> Vec<u32> {
    let tokenizer = load("large").1;
    let tokens = choice["logprobs"]["tokens"].as_array().expect("tokens");
    let id = |token: &Json| {
        let token = token.as_str().expect("a string");
        let vocab = tokenizer.vocab();
        (0..vocab.size() as u32)
            .find(|&id| vocab.token(id).is_some_and(|known| &*known.bytes == token.as_bytes()))
            .expect("a token of the vocabulary")
    };
    tokens.iter().map(id).collect()
}

#[test]
fn prompts_without_a_seed_draw_independently() {
    let server = Served::new();
    let body = json!({"prompt": vec!["Suna"; 8], "max_tokens": 12, "temperature": 2.0, "ignore_eos": true});
    let texts: std::collections::HashSet<String> =
        server.complete(&body)["choices"].as_array().expect("choices").iter().map(text).collect();
    assert!(texts.len() > 1, "{texts:?}");
}

#[test]
fn the_sampling_of_the_model_counts_where_a_request_names_none() {
    let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/served/chat_template.jinja");
    let mut base = served::base(&template);
    (base.sampling.temperature, base.sampling.top_k) = (Some(0.7), Some(1));
    let server =
        Served::assemble(BaseLm::plain(load("large").0), None, base, Vec::new(), Settings::default());
    let shown = server.get("/v1/models/large").json();
    assert_eq!(shown["ivl"]["sampling"], json!({"temperature": 0.7, "top_k": 1}));
    let ask = |more: Json| {
        let mut body = json!({"prompt": "Suna lives in", "max_tokens": 12, "ignore_eos": true});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        text(&server.complete(&body)["choices"][0])
    };
    // Of one token that is left, every draw is the same as the greedy choice.
    let greedy = ask(json!({"temperature": 0}));
    assert_eq!([ask(json!({"seed": 1})), ask(json!({"seed": 2}))], [greedy.clone(), greedy.clone()]);
    assert_ne!(ask(json!({"top_k": 0, "temperature": 3.0, "seed": 1})), greedy);
}

#[test]
fn a_text_ends_no_earlier_than_asked() {
    let server = Served::new();
    let ending = json!({"logit_bias": {"1": 100}, "min_tokens": 3});
    let choice = greedy(&server, &ending);
    let tokens = ids(&choice);
    assert_eq!((tokens.len(), tokens[3], &choice["finish_reason"]), (4, 1, &json!("stop")));
    assert_eq!(choice.get("stop_reason"), Some(&Json::Null), "an end token of the model");
    let plain = text(&greedy(&server, &json!({"ignore_eos": true})));
    let letter = &plain[1..2];
    let stopped = greedy(&server, &json!({"ignore_eos": true, "stop": letter}));
    assert_eq!(text(&stopped), plain.split(letter).next().expect("a beginning"));
    let later = greedy(&server, &json!({"ignore_eos": true, "stop": letter, "min_tokens": 12}));
    assert_eq!((text(&later), &later["finish_reason"]), (plain, &json!("length")));
    assert_eq!(later.get("stop_reason"), Some(&Json::Null));
}

#[test]
fn texts_end_at_tokens_and_strings() {
    let server = Served::new();
    let plain = greedy(&server, &json!({"ignore_eos": true}));
    let (tokens, all) = (ids(&plain), text(&plain));
    let end = tokens[4];
    let before = tokens.iter().position(|&id| id == end).expect("it is there");
    let stopped = greedy(&server, &json!({"ignore_eos": true, "stop_token_ids": [end]}));
    assert_eq!((ids(&stopped), &stopped["finish_reason"]), (tokens[..=before].to_vec(), &json!("stop")));
    // As vLLM has it.
    assert_eq!(stopped["stop_reason"], json!(end));
    assert!(all.starts_with(&text(&stopped)) && text(&stopped).len() < all.len());
    let stop = &all[4..6];
    let until = all.find(stop).expect("it is there");
    let ask = |include: bool| {
        let more = json!({"ignore_eos": true, "stop": stop, "include_stop_str_in_output": include});
        text(&greedy(&server, &more))
    };
    assert_eq!([ask(false), ask(true)], [all[..until].to_owned(), all[..until + stop.len()].to_owned()]);
    // The beginning of a text is a control token: it adds no text, but its name ends one.
    let named = greedy(&server, &json!({"logit_bias": {"0": 100}, "stop": ["<s>"]}));
    assert_eq!((text(&named), &named["finish_reason"]), (String::new(), &json!("stop")));
    assert_eq!((ids(&named), &named["stop_reason"]), (vec![0], &json!("<s>")));
}

#[test]
fn tokens_are_allowed_and_words_forbidden() {
    let server = Served::new();
    let plain = greedy(&server, &json!({"ignore_eos": true}));
    let allowed = [40, 41, 42];
    let choice = greedy(&server, &json!({"ignore_eos": true, "allowed_token_ids": allowed}));
    assert!(ids(&choice).iter().all(|id| allowed.contains(id)), "{choice}");
    let word = text(&plain).split_whitespace().next().expect("a word").to_owned();
    let without = text(&greedy(&server, &json!({"ignore_eos": true, "bad_words": [word]})));
    assert!(!without.contains(&format!(" {word}")) && !without.is_empty(), "{word:?} in {without:?}");
}

#[test]
fn prompts_have_log_probabilities_of_their_own() {
    let server = Served::new();
    let prompt = encode("Suna lives in Oslo.");
    let body =
        json!({"model": "large", "prompt": prompt, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 2});
    let choice = server.complete(&body)["choices"][0].clone();
    assert!(choice["logprobs"].is_null());
    let echo = server.complete(&json!({
        "model": "large", "prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 0,
    }));
    let expected = echo["choices"][0]["logprobs"]["token_logprobs"].as_array().expect("a list").clone();
    let list = choice["prompt_logprobs"].as_array().expect("a list");
    assert_eq!(list.len(), prompt.len());
    assert!(list[0].is_null());
    for (at, (entry, expected)) in list.iter().zip(expected).enumerate().skip(1) {
        let entry = entry.as_object().expect("an object");
        let own = &entry[&prompt[at].to_string()];
        served::assert_alike(&own["logprob"], &expected, "the token of the prompt");
        let rank = own["rank"].as_u64().expect("a rank") as usize;
        assert_eq!(entry.len(), if rank <= 2 { 2 } else { 3 }, "{entry:?}");
        let better =
            entry.values().filter(|other| other["logprob"].as_f64() > own["logprob"].as_f64()).count();
        assert_eq!(better, 2.min(rank - 1));
        assert!(own["decoded_token"].is_string());
    }
    let streamed = json!({"prompt": "a", "prompt_logprobs": 1, "stream": true});
    assert_eq!(server.post("/v1/completions", &streamed).json()["error"]["param"], "prompt_logprobs");
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let target = BaseLm::from(served::fused(1.0));
    let draft = Draft::prompt_lookup(2).expect("at least 1");
    let drafted =
        Served::start(target, Some(Speculation::new(draft, Pace::fixed(3))), None, Settings::default());
    for server in [&Served::new(), &drafted] {
        let schema = json!({
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Lima"]}, "cats": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["city", "cats"], "additionalProperties": false,
        });
        let format = json!({"type": "json_schema", "json_schema": {"name": "home", "schema": schema}});
        let ask = |more: Json| {
            let mut body = json!({"prompt": "Suna", "max_tokens": 200, "temperature": 1.0, "seed": 5});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let choice = server.complete(&body)["choices"][0].clone();
            (text(&choice), choice["finish_reason"].clone())
        };
        for more in [
            json!({"response_format": format}),
            json!({"guided_json": schema}),
            json!({"structured_outputs": {"json": schema}}),
        ] {
            let (answer, finish) = ask(more);
            let home: Json = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer}"));
            assert!(["Oslo", "Lima"].contains(&home["city"].as_str().expect("a city")), "{answer}");
            assert!(home["cats"].as_u64().is_some_and(|cats| cats <= 9), "{answer}");
            assert_eq!(finish, "stop");
        }
        let (word, _) = ask(json!({"guided_regex": "[abc]{3}"}));
        assert!(word.len() == 3 && word.chars().all(|letter| "abc".contains(letter)), "{word}");
        let (choice, _) = ask(json!({"guided_choice": ["yes", "no \"way\""]}));
        assert!(["yes", "no \"way\""].contains(&choice.as_str()), "{choice}");
        assert_eq!(ask(json!({"guided_grammar": "start: \"a\" \"b\" \"c\""})).0, "abc");
    }
    let server = Served::new();
    let chat = server.post(
        "/v1/chat/completions",
        &json!({
            "messages": [{"role": "user", "content": "Suna"}], "max_tokens": 60, "seed": 1,
            "response_format": {"type": "json_object"}, "ivl": {"explain": true},
        }),
    );
    let answer = chat.json()["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    assert!(answer.trim_start().starts_with('{'), "{answer}");
    for (field, value) in [
        ("guided_regex", json!("(")),
        ("guided_grammar", json!("x")),
        ("guided_choice", json!([])),
        ("guided_json", json!(3)),
        ("structured_outputs", json!({"structural_tag": {}})),
        ("response_format", json!({"type": "json_schema"})),
    ] {
        let refused = server.post("/v1/completions", &json!({"prompt": "a", field: value}));
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(field)),
            "{}",
            refused.text()
        );
    }
    let two = json!({"prompt": "a", "guided_regex": "a", "guided_choice": ["a"]});
    assert_eq!(server.post("/v1/completions", &two).status, 400);
}

/// Shows tools, and says how they are called.
const WITH_TOOLS: &str = "{% if tools %}Answer with <tool_call></tool_call>. Tools: {{ tools | tojson }}\n{% endif %}\
                          {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                          {% if add_generation_prompt %}assistant:{% endif %}";

#[test]
fn tools_are_shown_and_their_calls_parsed() {
    let server = Served::with_template(WITH_TOOLS);
    let tool = json!({"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}});
    // The grammar makes the model write what a trained one would.
    let call = "Well. <tool_call>{\"name\": \"find\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>";
    let body = json!({
        "messages": [{"role": "user", "content": "Where?"}], "tools": [tool], "max_tokens": 120, "temperature": 0,
        "guided_choice": [call],
    });
    let choice = server.post("/v1/chat/completions", &body).json()["choices"][0].clone();
    let message = &choice["message"];
    assert_eq!(
        (&message["content"], &choice["finish_reason"]),
        (&json!("Well. "), &json!("tool_calls")),
        "{choice}"
    );
    let function = &message["tool_calls"][0]["function"];
    assert_eq!((&function["name"], &function["arguments"]), (&json!("find"), &json!("{\"city\":\"Oslo\"}")));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/chat/completions", &streamed).events();
    let content: String =
        events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, "Well. ");
    let last = &events.last().expect("a chunk")["choices"][0];
    assert_eq!(
        (&last["delta"]["tool_calls"][0]["function"], &last["finish_reason"]),
        (function, &json!("tool_calls"))
    );
    // Without tools, or with none to choose, it is text, and the prompt shows no tool.
    let tokens = |body: &Json| server.post("/tokenize", body).json()["count"].as_u64().expect("a number");
    let mut none = body.clone();
    none["tool_choice"] = json!("none");
    let answer = server.post("/v1/chat/completions", &none).json();
    assert_eq!(answer["choices"][0]["message"]["content"], call);
    assert!(tokens(&body) > tokens(&none));
    for (field, value) in [
        ("tools", json!([{"type": "function"}])),
        ("tools", json!("find")),
        ("tool_choice", json!("any")),
        ("tool_choice", json!({"type": "function", "function": {"name": "grep"}})),
        ("tool_choice", json!({"type": "allowed_tools"})),
        ("parallel_tool_calls", json!(1)),
        // The answer cannot have two forms.
        ("guided_choice", json!(["a"])),
    ] {
        let mut refused = body.clone();
        refused[field] = value;
        if field == "guided_choice" {
            refused["tool_choice"] = json!("required");
        }
        let refused = server.post("/v1/chat/completions", &refused);
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(field)));
    }
    let blind = Served::new().post("/v1/chat/completions", &body);
    assert_eq!(
        (blind.status, &blind.json()["error"]["param"]),
        (400, &json!("tools")),
        "the template shows none"
    );
}

/// Shows little of tools, for a short context; with the tags of a format, or in none that is known.
const FEW_TOOLS: &str = "{{ tools | length }} FORMAT\n{% for m in messages %}{{ m.content }}\n{% endfor %}";

#[test]
fn an_answer_can_be_made_to_call_tools() {
    let tool = |name: &str, city: &str| {
        let city = json!({"type": "object", "properties": {"city": {"enum": [city]}}, "required": ["city"], "additionalProperties": false});
        json!({"type": "function", "function": {"name": name, "parameters": city}})
    };
    for format in ["<tool_call>", "<tool_call><function=", "[TOOL_CALLS]", "<|python_tag|>", "nothing known"]
    {
        let server = Served::with_template(&FEW_TOOLS.replace("FORMAT", format));
        let body = |choice: Json| {
            json!({
                "messages": [{"role": "user", "content": "Where?"}], "tools": [tool("find", "Oslo"), tool("show", "Rome")],
                "max_tokens": 150, "temperature": 0, "tool_choice": choice, "parallel_tool_calls": false,
            })
        };
        let ask = |body: &Json| {
            let answer = server.post("/v1/chat/completions", body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["choices"][0].clone()
        };
        let choice = ask(&body(json!("required")));
        let calls = choice["message"]["tool_calls"].as_array().unwrap_or_else(|| panic!("{choice}"));
        assert_eq!((calls.len(), &choice["finish_reason"]), (1, &json!("tool_calls")), "{choice}");
        assert_eq!(choice["message"]["content"], Json::Null);
        for (name, city) in [("find", "Oslo"), ("show", "Rome")] {
            let choice = ask(&body(json!({"type": "function", "function": {"name": name}})));
            let function = &choice["message"]["tool_calls"][0]["function"];
            let arguments: Json =
                serde_json::from_str(function["arguments"].as_str().expect("text")).expect("JSON");
            assert_eq!((&function["name"], arguments), (&json!(name), json!({"city": city})), "{choice}");
            assert_eq!(choice["finish_reason"], "stop", "the client named the function");
        }
        let without = json!({"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"});
        let refused = server.post("/v1/chat/completions", &without);
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("tool_choice")));
    }
}

#[test]
fn the_final_message_can_be_continued() {
    let server = Served::with_template(WITH_TOOLS);
    let messages =
        |last: &str| json!([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": last}]);
    let tokens = |more: Json| {
        let mut body = json!({"messages": messages("In Oslo, ")});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        server.post("/tokenize", &body)
    };
    let plain = |text: &str| json!(load("large").1.encode(text, false).expect("encodes"));
    assert_eq!(tokens(json!({})).json()["tokens"], plain("user: Where?\nassistant: In Oslo, \nassistant:"));
    let open = json!({"add_generation_prompt": false});
    assert_eq!(tokens(open).json()["tokens"], plain("user: Where?\nassistant: In Oslo, \n"));
    let continued = json!({"continue_final_message": true});
    assert_eq!(tokens(continued).json()["tokens"], plain("user: Where?\nassistant: In Oslo, "));
    let both = tokens(json!({"continue_final_message": true, "add_generation_prompt": true}));
    assert_eq!((both.status, &both.json()["error"]["param"]), (400, &json!("add_generation_prompt")));
    let of_user = json!({"messages": [{"role": "user", "content": "a"}], "continue_final_message": true});
    assert_eq!(server.post("/tokenize", &of_user).status, 400);
    // A template that trims messages loses the blanks, as in transformers.
    let trimming =
        Served::with_template("{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}");
    let body = json!({"messages": messages("In Oslo, "), "continue_final_message": true});
    assert_eq!(
        trimming.post("/tokenize", &body).json()["tokens"],
        plain("user: Where?\nassistant: In Oslo,")
    );
}

#[test]
fn what_a_template_says_reaches_the_client() {
    let refusing =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}x";
    let server = Served::with_template(refusing);
    let body = json!({"messages": [{"role": "system", "content": "a"}]});
    let refused = server.post("/v1/chat/completions", &body);
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("messages")));
    assert!(refused.text().contains("no system turns here"), "{}", refused.text());
}

#[test]
fn tokens_that_the_model_cannot_read_are_refused() {
    // A tokenizer that knows one token more than the model has logits.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tokenizer.json");
    let mut json: Json = serde_json::from_slice(
        &std::fs::read(served::example("large").join("tokenizer.json")).expect("reads"),
    )
    .expect("JSON");
    json["added_tokens"].as_array_mut().expect("a list").push(json!({
        "id": 384, "content": "<beyond>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    }));
    std::fs::write(&path, json.to_string()).expect("writes");
    let tokenizer = Tokenizer::from_file(&path).expect("reads");
    assert!(tokenizer.encode("hi <beyond>", false).expect("encodes").contains(&384));
    let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/served/chat_template.jinja");
    let base = ivl_serve::ServedBase { tokenizer, ..served::base(&template) };
    let server =
        Served::assemble(BaseLm::plain(load("large").0), None, base, Vec::new(), Settings::default());
    let completion = server.post("/v1/completions", &json!({"prompt": "hi <beyond>", "max_tokens": 2}));
    let chat = json!({"messages": [{"role": "user", "content": "hi <beyond>"}], "max_tokens": 2});
    for refused in [completion, server.post("/v1/chat/completions", &chat)] {
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("384"), "{}", refused.text());
    }
    assert_eq!(server.metric("ivl_panics_total"), 0.0);
}

#[test]
fn unsupported_fields_are_refused_and_neutral_values_are_not() {
    let server = Served::new();
    let refused = [
        ("no_repeat_ngram_size", json!(1)),
        ("typical_p", json!(0.1)),
        ("truncate_prompt_tokens", json!(2)),
        ("skip_special_tokens", json!(false)),
        ("add_special_tokens", json!(false)),
        ("use_beam_search", json!(true)),
        ("length_penalty", json!(0.5)),
        ("xtc_probability", json!(0.3)),
        ("mirostat", json!(2)),
        ("logits_processors", json!(["x"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("documents", json!([{"text": "a"}])),
        ("chat_template", json!("{{ 1 }}")),
        ("reasoning_effort", json!("low")),
        ("functions", json!([{"name": "f"}])),
        ("modalities", json!(["audio"])),
        ("min_tokens", json!(-1)),
        ("stop_token_ids", json!([384])),
        ("allowed_token_ids", json!([])),
        ("bad_words", json!([""])),
    ];
    for (field, value) in refused {
        let answer = server.post("/v1/completions", &json!({"prompt": "a", "max_tokens": 1, field: value}));
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field)),
            "{}",
            answer.text()
        );
    }
    let neutral = json!({
        "prompt": "a", "max_tokens": 1, "no_repeat_ngram_size": 0, "typical_p": 1.0, "skip_special_tokens": true,
        "add_special_tokens": true, "use_beam_search": false, "length_penalty": 1, "logits_processors": [], "suffix": null,
        "documents": null, "modalities": ["text"], "min_tokens": 0, "stop_token_ids": [], "bad_words": [],
        "user": "u", "store": true, "metadata": {"a": "b"}, "an_unknown_field": 1,
    });
    assert_eq!(server.post("/v1/completions", &neutral).status, 200);
    let chat = |field: &str, value: Json| {
        let body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, field: value});
        server.post("/v1/chat/completions", &body).status
    };
    assert_eq!(chat("echo", json!(true)), 400);
    assert_eq!(chat("add_special_tokens", json!(true)), 400);
    assert_eq!(chat("add_special_tokens", json!(false)), 200);
    assert_eq!(chat("chat_template_kwargs", json!(3)), 400);
}
