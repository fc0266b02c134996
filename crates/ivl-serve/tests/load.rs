//! Hundreds of requests at once: nothing lost, nothing mixed up, the words of the command line.

mod served;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ivl_core::decode::GenerateConfig;
use served::{Served, encode, fused, json, offline, request, settings};

const PROMPTS: [&str; 6] = [
    "Suna",
    "Tara has a",
    "The home of Jomas is in",
    "For lunch Rena has",
    "In Oslo lives",
    "Kato walks through Lima",
];
const ALPHAS: [f64; 3] = [0.0, 0.5, 1.25];

/// Numbers that look random.
fn noise(seed: usize) -> usize {
    (seed + 1).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33
}

#[test]
fn every_answer_under_load_is_the_offline_one() {
    let server = Served::with(settings(|settings| settings.max_rows = 12));
    let models: Vec<_> = ALPHAS.iter().map(|&alpha| Mutex::new(fused(alpha))).collect();
    let known: Mutex<HashMap<(usize, usize, usize), String>> = Mutex::default();
    let expected = |prompt: usize, alpha: usize, tokens: usize| {
        if let Some(text) = known.lock().expect("lock").get(&(prompt, alpha, tokens)) {
            return text.clone();
        }
        let config = GenerateConfig::default().max_new_tokens(tokens).end_tokens(vec![1]);
        let text = offline(&*models[alpha].lock().expect("lock"), &encode(PROMPTS[prompt]), &config).1;
        known.lock().expect("lock").insert((prompt, alpha, tokens), text.clone());
        text
    };
    let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= 400 {
                return;
            }
            let (prompt, alpha, tokens) =
                (noise(number) % 6, noise(number + 1000) % 3, 1 + noise(number + 2000) % 20);
            let values =
                if alpha == 0 { json!([]) } else { json!([{"id": "small", "alpha": ALPHAS[alpha]}]) };
            let body = json!({
                "prompt": PROMPTS[prompt], "max_tokens": tokens, "temperature": 0, "ivl": {"values": values},
                "stream": number % 4 == 1,
            });
            if number % 5 == 4 {
                // Some go away in the middle, some send nonsense.
                let mut gone = TcpStream::connect(server.address).expect("connects");
                let bytes = request("POST", "/v1/completions", "", &body.to_string());
                let whole = number % 2 == 0;
                gone.write_all(&bytes.as_bytes()[..bytes.len() / if whole { 1 } else { 2 }]).expect("sends");
                if whole && number % 3 == 0 {
                    let _ = gone.read(&mut [0; 16]);
                }
                continue;
            }
            let answer = server.post("/v1/completions", &body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let text = if number % 4 == 1 {
                let events = answer.events();
                events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
            } else {
                answer.json()["choices"][0]["text"].as_str().expect("text").to_owned()
            };
            assert_eq!(text, expected(prompt, alpha, tokens), "{body}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(work);
        }
    });
    assert_eq!(answered.into_inner(), 320);
    server.wait_for("ivl_texts_running", |running| running == 0.0);
    assert_eq!(server.metric("ivl_cache_bytes"), 0.0);
    assert_eq!(server.metric("ivl_panics_total"), 0.0);
}
