//! Limits, keys, panics, slow and vanishing clients, and the end.

mod served;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use burn::tensor::{Device, Int, Tensor};
use ivl_core::decode::{EndTokens, GenerateConfig};
use ivl_core::fusion::BaseLm;
use ivl_core::{Cache, CausalLm, Error, Vocab};
use ivl_models::TransformerLm;
use ivl_serve::Settings;
use served::{Json, Served, encode, fused, json, load, offline, read, request, send, settings};

/// Writes on and on.
fn long(prompt: &str) -> Json {
    json!({"prompt": prompt, "max_tokens": 200, "ignore_eos": true, "temperature": 0, "stream": true})
}

#[test]
fn keys_are_asked_for_where_it_matters() {
    let keys = vec!["one".to_owned(), "two".to_owned()];
    let server = Served::with(settings(|settings| settings.api_keys = keys));
    let with = |path: &str, headers: &str| send(server.address, &request("GET", path, headers, ""));
    for path in ["/", "/page.js", "/page.css", "/health"] {
        assert_eq!(with(path, "").status, 200, "{path}");
    }
    for path in ["/v1/models", "/metrics", "/tokenizer_info", "/nothing"] {
        for headers in
            ["", "authorization: Bearer \r\n", "authorization: Bearer onetwo\r\n", "authorization: one\r\n"]
        {
            let answer = with(path, headers);
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("invalid_api_key")));
            assert!(!answer.text().contains("one"), "no key in an answer");
        }
    }
    for key in ["one", "two"] {
        assert_eq!(with("/v1/models", &format!("Authorization: bearer {key}\r\n")).status, 200);
    }
    let open = Served::new();
    assert_eq!(
        send(open.address, &request("GET", "/v1/models", "authorization: Bearer \r\n", "")).status,
        200
    );
    let exposed = settings(|settings| settings.host = "0.0.0.0".parse().expect("an address"));
    assert!(exposed.validate().expect_err("no key").to_string().contains("no API key"));
}

#[test]
fn pages_are_locked_in_and_pages_of_others_out() {
    let server = Served::new();
    let page = server.get("/");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.headers.contains(header), "{header} is not in {}", page.headers);
    }
    assert!(!page.headers.contains("access-control-allow-origin"));
    // The page loads its own files and nothing else: every address in it is relative, or data.
    for path in ["/", "/page.css", "/page.js"] {
        let text = server.get(path).text();
        for reference in [
            "src=\"http",
            "src=\"//",
            "href=\"http",
            "href=\"//",
            "url(http",
            "url(//",
            "@import",
            "fetch(\"http",
        ] {
            assert!(!text.contains(reference), "{path} has {reference}");
        }
    }
    let evil = request("POST", "/v1/completions", "origin: http://evil.example\r\n", "{\"prompt\":\"a\"}");
    assert_eq!(send(server.address, &evil).status, 403);
    let rebound = "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(send(server.address, rebound).status, 403);
}

/// A base that panics when it reads a certain token.
struct Fragile(TransformerLm);

const FATAL: i32 = 127;

impl CausalLm for Fragile {
    fn vocab(&self) -> &Vocab {
        self.0.vocab()
    }
    fn max_positions(&self) -> usize {
        self.0.max_positions()
    }
    fn device(&self) -> Device {
        self.0.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.0.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let ids: Vec<i64> = tokens.clone().into_data().iter::<i64>().collect();
        assert!(!ids.contains(&i64::from(FATAL)), "a bug of the model");
        self.0.forward(tokens, cache)
    }
}

#[test]
fn a_panic_ends_its_own_request_and_nothing_else() {
    let server = Served::of(BaseLm::plain(Fragile(load("large").0)), Settings::default());
    let config = GenerateConfig::default().max_new_tokens(150).end_tokens(EndTokens::none());
    let prompts = ["Suna lives in", "Tara has a", "The home of Jomas"];
    let expected: Vec<String> =
        prompts.iter().map(|p| offline(&load("large").0, &encode(p), &config).1).collect();
    std::thread::scope(|scope| {
        let good: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                let ask = json!({"prompt": prompt, "max_tokens": 150, "temperature": 0, "ignore_eos": true});
                scope.spawn(|| {
                    server.complete(&{ ask })["choices"][0]["text"].as_str().expect("text").to_owned()
                })
            })
            .collect();
        // In a prompt, beside good prompts, and in the middle of an answer.
        let reading = server.post("/v1/completions", &json!({"prompt": [5, 6, FATAL, 7], "max_tokens": 3}));
        let mixed = server.post("/v1/completions", &json!({"prompt": [[5, 6], [FATAL, 7]], "max_tokens": 3}));
        let writing = server.post(
            "/v1/completions",
            &json!({"prompt": [5], "max_tokens": 9, "logit_bias": {FATAL.to_string(): 100}}),
        );
        for failed in [reading, mixed, writing] {
            assert_eq!((failed.status, &failed.json()["error"]["code"]), (500, &json!("internal_error")));
            assert!(!failed.text().contains("bug of the model"), "what happened is not told");
        }
        for (good, expected) in good.into_iter().zip(expected) {
            assert_eq!(good.join().expect("answers"), expected);
        }
    });
    assert!(server.metric("ivl_panics_total") >= 3.0);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_client_that_goes_away_takes_its_texts_along() {
    let server = Served::new();
    for stream in [true, false] {
        let mut body = long("Suna");
        body["stream"] = json!(stream);
        body["n"] = json!(8);
        let mut connection = TcpStream::connect(server.address).expect("connects");
        connection
            .write_all(request("POST", "/v1/completions", "", &body.to_string()).as_bytes())
            .expect("sends");
        server.wait_for("ivl_generated_tokens_total", |tokens| tokens > 0.0);
        drop(connection);
        server.wait_for("ivl_texts_running", |running| running == 0.0);
    }
    assert_eq!(server.metric("ivl_cache_bytes"), 0.0);
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let server = Served::new();
    let mut body = long("Suna lives in");
    (body["n"], body["logprobs"]) = (json!(16), json!(20));
    let mut slow = TcpStream::connect(server.address).expect("connects");
    slow.write_all(request("POST", "/v1/completions", "", &body.to_string()).as_bytes()).expect("sends");
    let quick = server.complete(&json!({"prompt": "Tara", "max_tokens": 5, "temperature": 0}));
    assert_eq!(quick["choices"][0]["finish_reason"], "length");
    server.wait_for("ivl_texts_running", |running| running == 0.0);
    let events = read(&mut slow).events();
    let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"] == "length").count();
    assert_eq!(ends, 16, "and nothing is lost");
}

#[test]
fn a_body_or_head_that_never_comes_is_given_up() {
    let server = Served::with(settings(|settings| settings.client_timeout = Duration::from_millis(300)));
    let mut body = TcpStream::connect(server.address).expect("connects");
    body.write_all(
        b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{",
    )
    .expect("sends");
    assert_eq!(read(&mut body).status, 408);
    let mut head = TcpStream::connect(server.address).expect("connects");
    head.write_all(b"GET /health HTT").expect("sends");
    head.set_read_timeout(Some(Duration::from_secs(30))).expect("sets");
    let mut rest = Vec::new();
    head.read_to_end(&mut rest).expect("the server closes the connection");
}

#[test]
fn a_stop_lets_texts_end_and_takes_no_new_ones() {
    let mut server = Served::new();
    let mut running = TcpStream::connect(server.address).expect("connects");
    running
        .write_all(request("POST", "/v1/completions", "", &long("Suna").to_string()).as_bytes())
        .expect("sends");
    server.wait_for("ivl_generated_tokens_total", |tokens| tokens > 0.0);
    server.stop();
    let events = read(&mut running).events();
    let (_, text) = offline(
        &load("large").0,
        &encode("Suna"),
        &GenerateConfig::default().max_new_tokens(200).end_tokens(EndTokens::none()),
    );
    let streamed: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(streamed, text);
    server.join();
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
}

#[test]
fn prompts_that_begin_alike_are_read_once() {
    let server = Served::new();
    let beginning = "Suna lives in Oslo. Tara has a cat. The home of Jomas is in Lima. ";
    let lm = fused(0.5);
    let config = GenerateConfig::default().max_new_tokens(10).end_tokens(vec![1]);
    let ask = |prompt: &str, ivl: Json| {
        let answer =
            server.complete(&json!({"prompt": prompt, "max_tokens": 10, "temperature": 0, "ivl": ivl}));
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number");
        (answer["choices"][0]["text"].as_str().expect("text").to_owned(), cached as usize)
    };
    let values = || json!({"values": [{"id": "small", "alpha": 0.5}]});
    let shared = encode(beginning).len();
    for (prompt, known) in [("Rena", false), ("In Quito lives", true), ("Rena", true)] {
        let prompt = format!("{beginning}{prompt}");
        let (text, cached) = ask(&prompt, values());
        assert_eq!(text, offline(&lm, &encode(&prompt), &config).1);
        assert_eq!(cached >= shared - 2, known, "{cached} of {shared}");
    }
    // Another weight, and the base without values, may continue from the same caches.
    let prompt = format!("{beginning}Kato");
    let (text, cached) = ask(&prompt, json!({"values": []}));
    assert_eq!(text, offline(&load("large").0, &encode(&prompt), &config).1);
    assert!(cached >= shared - 2);
}
