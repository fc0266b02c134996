//! A position encoding that depends on the length of the text: what was read of a shorter prompt is no use for a longer one.

mod served;

use ivl_core::CausalLm;
use ivl_core::fusion::BaseLm;
use ivl_models::Checkpoint;
use served::{Json, Served, encode, json, settings};

use burn::tensor::{DType, Device};

/// Positions up to which the frequencies stay as they are.
const ORIGINAL: usize = 32;

/// The model `large` with another `config.json`.
fn stretched() -> BaseLm {
    let dir = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(served::example("large")).expect("the model") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copies");
    }
    let path = dir.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
    config["max_position_embeddings"] = json!(ORIGINAL);
    config["rope_scaling"] = json!({"rope_type": "dynamic", "factor": 8.0});
    std::fs::write(&path, config.to_string()).expect("writes");
    let checkpoint = Checkpoint::open(dir.path()).expect("opens");
    let (lm, _) = checkpoint.load_lm(&Device::flex(), DType::F32).expect("loads");
    BaseLm::plain(lm)
}

#[test]
fn an_answer_does_not_depend_on_earlier_prompts() {
    let shorter = "Suna lives in Oslo. Tara has a cat. The home of Jomas is in Lima.";
    let longer = format!("{shorter} Rena works as a baker in Quito, and for lunch");
    let context = stretched().max_positions();
    assert!((ORIGINAL..context).contains(&encode(&longer).len()) && encode(shorter).len() > 16);
    let ask = |server: &Served, prompt: &str| {
        let answer = server.complete(&json!({
            "prompt": prompt, "max_tokens": 4, "temperature": 0, "logprobs": 0, "ignore_eos": true,
        }));
        let logprob = answer["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().expect("a number");
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number");
        (logprob, cached)
    };
    let fresh = Served::of(stretched(), settings(|settings| settings.prefix_bytes = 0));
    let (expected, _) = ask(&fresh, &longer);
    let server = Served::of(stretched(), settings(|_| ()));
    ask(&server, shorter);
    let (logprob, cached) = ask(&server, &longer);
    assert_eq!(cached, 0);
    assert!((logprob - expected).abs() < 1e-4, "{logprob} is not {expected}");
    // Where the frequencies are the same, prompts share what was read of them.
    let within = "Suna lives in Oslo. Tara has a cat. The";
    assert!((17..ORIGINAL - 2).contains(&encode(within).len()));
    ask(&server, within);
    assert!(ask(&server, &format!("{within} a")).1 > 0);
}
