//! What a server refuses, who waits for whom, and what the answers say about it.

mod served;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use burn::tensor::{Device, Int, Tensor};
use ivl_core::fusion::BaseLm;
use ivl_core::{Cache, CausalLm, Error, Vocab};
use ivl_models::TransformerLm;
use ivl_serve::Settings;
use served::{Json, Served, encode, json, load, read, request, send, settings};

#[test]
fn bodies_have_a_limit() {
    let server = Served::with(settings(|settings| settings.max_body = 1000));
    let large = server.post("/v1/completions", &json!({"prompt": "a".repeat(2000)}));
    assert_eq!((large.status, &large.json()["error"]["code"]), (413, &json!("body_too_large")));
    let chunked = "POST /tokenize HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n";
    let body = format!("{chunked}{}\r\n0\r\n\r\n", "a".repeat(2000));
    assert_eq!(send(server.address, &body).status, 413);
}

/// How many forwards a model may still make.
#[derive(Clone)]
struct Forwards(Arc<AtomicUsize>);

impl Forwards {
    /// None: the next one waits.
    fn hold(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn allow(&self, forwards: usize) {
        self.0.store(forwards, Ordering::Relaxed);
    }

    fn allow_all(&self) {
        self.allow(usize::MAX);
    }

    fn wait(&self) {
        let take = |left: usize| left.checked_sub(1);
        while self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The model `large`, which makes as many forwards as it may.
struct Held {
    lm: TransformerLm,
    forwards: Forwards,
}

impl CausalLm for Held {
    fn vocab(&self) -> &Vocab {
        self.lm.vocab()
    }
    fn max_positions(&self) -> usize {
        self.lm.max_positions()
    }
    fn device(&self) -> Device {
        self.lm.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.lm.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        self.forwards.wait();
        self.lm.forward(tokens, cache)
    }
}

/// A server of `large` without values, and what holds its model.
fn held(settings: Settings) -> (Served, Forwards) {
    let forwards = Forwards(Arc::new(AtomicUsize::new(usize::MAX)));
    let lm = Held { lm: load("large").0, forwards: forwards.clone() };
    (Served::of(BaseLm::plain(lm), settings), forwards)
}

fn open(server: &Served, body: &Json) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.write_all(request("POST", "/v1/completions", "", &body.to_string()).as_bytes()).expect("sends");
    stream
}

/// Two tokens.
fn short() -> Json {
    json!({"prompt": "Suna", "max_tokens": 2, "ignore_eos": true, "temperature": 0})
}

/// Waits until the server has accepted this many prompts `Suna`.
fn wait_for_prompts(server: &Served, prompts: usize) {
    let tokens = (prompts * encode("Suna").len()) as f64;
    server.wait_for("ivl_prompt_tokens_total", |got| got == tokens);
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let (server, forwards) = held(settings(|settings| {
        settings.max_queue = 2;
        settings.max_queue_per_client = Some(2);
        settings.max_rows = 1;
    }));
    forwards.hold();
    // The first text is held in its prefill and the second waits, so that the third finds no place.
    let mut waiting = [open(&server, &short()), open(&server, &short())];
    wait_for_prompts(&server, 2);
    let third = server.post("/v1/completions", &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!((third.status, &third.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(third.headers.contains("retry-after"), "{}", third.headers);
    assert_eq!(server.post("/tokenize", &json!({"prompt": "a"})).status, 429, "it counts as a text");
    forwards.allow_all();
    for stream in &mut waiting {
        assert_eq!(read(stream).status, 200);
    }
    assert_eq!(server.complete(&json!({"prompt": "a", "max_tokens": 1}))["choices"][0]["index"], 0);
    assert_eq!(server.post("/tokenize", &json!({"prompt": "a"})).status, 200);
}

#[test]
fn one_client_cannot_fill_the_queue_and_what_never_fits_is_refused_for_good() {
    let keys = vec!["one".to_owned(), "two".to_owned()];
    let (server, forwards) = held(settings(|settings| {
        settings.api_keys = keys;
        settings.max_queue = 4;
    }));
    let ask = |key: &str, body: &Json| {
        let headers = format!("authorization: Bearer {key}\r\n");
        send(server.address, &request("POST", "/v1/completions", &headers, &body.to_string()))
    };
    let larger = ask("one", &json!({"prompt": "a", "n": 3}));
    assert_eq!((larger.status, &larger.json()["error"]["param"]), (400, &json!("n")));
    forwards.hold();
    let body = json!({"prompt": "Suna", "n": 2, "max_tokens": 1, "temperature": 0});
    let wait_for = |prompts: usize| {
        let line = format!("ivl_prompt_tokens_total{{model=\"large\"}} {}", prompts * encode("Suna").len());
        let metrics = request("GET", "/metrics", "authorization: Bearer one\r\n", "");
        while !send(server.address, &metrics).text().contains(&line) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask("one", &body));
        wait_for(1);
        let own = ask("one", &body);
        assert_eq!(own.status, 429);
        assert!(own.text().contains("of this client"), "{}", own.text());
        let second = scope.spawn(|| ask("two", &body));
        wait_for(2);
        assert_eq!(ask("two", &body).status, 429);
        forwards.allow_all();
        assert_eq!([first, second].map(|answer| answer.join().expect("answers").status), [200, 200]);
    });
    assert_eq!(ask("one", &body).status, 200);
}

#[test]
fn short_requests_do_not_wait_for_a_wide_one() {
    let (server, forwards) = held(settings(|settings| settings.max_rows = 4));
    forwards.hold();
    let long =
        json!({"prompt": "Suna", "max_tokens": 200, "ignore_eos": true, "temperature": 0, "stream": true});
    let mut running = open(&server, &long);
    wait_for_prompts(&server, 1);
    // It needs all four rows, so that it waits for the long text; the short one after it finds a free row.
    let mut wide = open(&server, &json!({"prompt": "Suna", "n": 4, "max_tokens": 1, "temperature": 0}));
    wait_for_prompts(&server, 2);
    let mut short = open(&server, &short());
    wait_for_prompts(&server, 3);
    // Far fewer than the long text takes.
    forwards.allow(20);
    assert_eq!(read(&mut short).status, 200);
    forwards.allow_all();
    assert_eq!(read(&mut wide).json()["choices"].as_array().map(Vec::len), Some(4));
    assert!(!read(&mut running).events().is_empty());
}

#[test]
fn a_stream_that_waits_has_its_headers_and_clients_that_leave_are_counted() {
    let (server, forwards) = held(settings(|settings| settings.max_rows = 1));
    forwards.hold();
    let mut body = short();
    body["stream"] = json!(true);
    let mut stream = open(&server, &body);
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("sets");
    let mut head = [0; 15];
    stream.read_exact(&mut head).expect("headers before the first token");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let whole = open(&server, &short());
    wait_for_prompts(&server, 2);
    assert_eq!(server.metric("ivl_requests_cancelled_total"), 0.0);
    drop((stream, whole));
    server.wait_for("ivl_requests_cancelled_total", |cancelled| cancelled == 2.0);
    forwards.allow_all();
    server.wait_for("ivl_texts_waiting", |waiting| waiting == 0.0);
    assert_eq!(server.complete(&short())["choices"][0]["index"], 0);
    assert_eq!(server.metric("ivl_requests_cancelled_total"), 2.0);
}

#[test]
fn the_tokenizer_takes_bounded_texts() {
    let server = Served::new();
    let long = server.post("/tokenize", &json!({"prompt": "Suna ".repeat(300_000)}));
    assert_eq!((long.status, &long.json()["error"]["param"]), (400, &json!("prompt")));
    assert_eq!(server.post("/tokenize", &json!({"prompt": "Suna ".repeat(1000)})).status, 200);
    let many = server.post("/detokenize", &json!({"tokens": vec![5; 300_000]}));
    assert_eq!((many.status, &many.json()["error"]["param"]), (400, &json!("tokens")));
    // Of a prompt far beyond the context, only the beginning is tokenized.
    let prompt = server.post("/v1/completions", &json!({"prompt": "Suna lives in ".repeat(800)}));
    assert_eq!(prompt.json()["error"]["code"], "context_length_exceeded", "{}", prompt.text());
}

#[test]
fn chunks_that_are_not_valid_are_a_bad_request() {
    let server = Served::new();
    let head = "POST /tokenize HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = send(server.address, &format!("{head}zz\r\n{{}}\r\n0\r\n\r\n"));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("malformed")));
}

#[test]
fn requests_have_an_id() {
    let server = Served::new();
    let answer = |headers: &str| send(server.address, &request("GET", "/health", headers, "")).headers;
    assert!(answer("x-request-id: abc-1\r\n").contains("x-request-id: abc-1\r\n"));
    let id = |headers: String| {
        let line = headers.lines().find_map(|line| line.strip_prefix("x-request-id: ").map(str::to_owned));
        line.expect("an id")
    };
    let (first, second) = (id(answer("")), id(answer("x-request-id: a b\r\n")));
    assert!(first.len() == 32 && second.len() == 32 && first != second, "{first} {second}");
}

#[test]
fn sites_that_are_allowed_can_use_the_api_from_a_browser() {
    let server = Served::with(settings(|settings| {
        settings.cors_origins = vec!["https://app.example".to_owned()];
        settings.api_keys = vec!["key".to_owned()];
    }));
    let ask = |method: &str, origin: &str, key: &str| {
        let headers = format!("origin: {origin}\r\n{key}");
        send(server.address, &request(method, "/v1/models", &headers, ""))
    };
    let key = "authorization: Bearer key\r\n";
    let preflight = ask("OPTIONS", "https://app.example", "");
    assert_eq!(preflight.status, 204);
    assert!(
        preflight.headers.contains("access-control-allow-headers: authorization"),
        "{}",
        preflight.headers
    );
    let allowed = ask("GET", "https://app.example", key);
    assert_eq!(allowed.status, 200);
    assert!(
        allowed.headers.contains("access-control-allow-origin: https://app.example"),
        "{}",
        allowed.headers
    );
    assert_eq!(ask("GET", "https://app.example", "").status, 401, "the key is still needed");
    let other = ask("GET", "https://other.example", key);
    assert_eq!(other.status, 403);
    assert!(!other.headers.contains("access-control-allow-origin"));
    assert_eq!(ask("OPTIONS", "https://other.example", "").status, 403);
}

#[test]
fn a_request_that_could_never_run_is_refused() {
    let server = Served::with(settings(|settings| settings.cache_bytes = 100_000));
    let refused = server.post("/v1/completions", &json!({"prompt": "a", "max_tokens": 100, "n": 8}));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("max_tokens")));
    // One after the other they all fit.
    let fits = server.complete(&json!({"prompt": vec!["a"; 8], "max_tokens": 20, "ignore_eos": true}));
    assert_eq!(fits["choices"].as_array().map(Vec::len), Some(8));
}
