//! Hub names, against a hub of our own on the loopback interface.

mod run;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device};
use ivl_models::transformer::LoraConfig;
use ivl_models::{Checkpoint, save_adapters};
use run::{base, command, json, ok, stderr, text};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one model, `org/tiny`, whose files are those of `dir` and one that is no file of ivl's; it counts the files that it
/// serves.
fn serve(dir: &Path) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let served = Arc::new(Mutex::new(Vec::new()));
    let log = served.clone();
    let entries = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry"));
    let mut files: HashMap<String, Vec<u8>> = entries
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("reads")))
        .map(|(name, bytes)| (name.into_string().expect("UTF-8"), bytes))
        .collect();
    files.insert("tf_model.h5".to_owned(), b"never downloaded".to_vec());
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (files, log) = (files.clone(), log.clone());
            std::thread::spawn(move || answer(stream, &files, &log));
        }
    });
    (address, served)
}

fn answer(stream: TcpStream, files: &HashMap<String, Vec<u8>>, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("clones"));
    let mut stream = stream;
    let mut request = String::new();
    while reader.read_line(&mut request).is_ok_and(|read| read > 0) {
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
            header.clear();
        }
        let mut words = request.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let tree: Vec<_> = files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "type": "file", "oid": "1", "size": bytes.len(), "path": name }))
            .collect();
        let body = match path {
            "/api/models/org/tiny/revision/main" | "/api/models/org/tiny" => {
                Some(serde_json::json!({ "id": "org/tiny", "sha": COMMIT }).to_string().into_bytes())
            }
            _ if path.starts_with("/api/models/org/tiny/tree/") => {
                Some(serde_json::json!(tree).to_string().into_bytes())
            }
            _ => path
                .strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"))
                .and_then(|name| files.get(name).cloned()),
        };
        let (status, bytes) = body.map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
        if method == "GET" && path.contains("/resolve/") {
            log.lock().expect("unpoisoned").push(path.rsplit('/').next().unwrap_or_default().to_owned());
        }
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/json\r\nETag: \"{}\"\r\n\
             X-Repo-Commit: {COMMIT}\r\nAccept-Ranges: bytes\r\n\r\n",
            bytes.len(),
            path.rsplit('/').next().unwrap_or_default(),
        );
        let bytes = if method == "HEAD" { Vec::new() } else { bytes };
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes)).is_err() {
            return;
        }
        request.clear();
    }
}

#[test]
fn a_hub_name_is_downloaded_once_and_found_offline() {
    let (endpoint, served) = serve(Path::new(&base("small")));
    let home = tempfile::tempdir().expect("dir");
    let run = |offline: &str, endpoint: &str, name: &str| {
        command(&["score", "--base", name, "--text", "Suna has a cat.", "--json"])
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", endpoint)
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .expect("starts")
    };
    let parse = |output: std::process::Output| -> serde_json::Value {
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let expected = json(&["score", "--base", &base("small"), "--text", "Suna has a cat.", "--json"]);
    assert_eq!(parse(run("0", &endpoint, "org/tiny")), expected);
    let mut names = served.lock().expect("unpoisoned").clone();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);

    assert_eq!(parse(run("0", &endpoint, "org/tiny@main")), expected);
    assert_eq!(served.lock().expect("unpoisoned").len(), 4, "nothing is downloaded twice");
    assert_eq!(parse(run("1", &endpoint, "org/tiny")), expected, "offline");
    assert_eq!(parse(run("0", "http://127.0.0.1:9", "org/tiny")), expected, "the hub is away");

    let absent = run("0", &endpoint, "org/absent");
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("cannot get `org/absent`"), "{}", stderr(&absent));
}

#[test]
fn a_quantisation_of_a_repository_is_one_file() {
    let (dir, home) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    for kind in ["F32", "Q8_0"] {
        let file = text(&dir.path().join(format!("small-{kind}.gguf")));
        ok(&["convert", &base("small"), "--to", &format!("gguf:{kind}"), "--out", &file]);
    }
    let (endpoint, served) = serve(dir.path());
    let run = |offline: &str, name: &str| {
        command(&["score", "--base", name, "--text", "Suna has a cat.", "--json"])
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", &endpoint)
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .expect("starts")
    };
    let file = text(&dir.path().join("small-Q8_0.gguf"));
    let expected = ok(&["score", "--base", &file, "--text", "Suna has a cat.", "--json"]);
    let fetched = run("0", "org/tiny:Q8_0");
    assert_eq!(String::from_utf8_lossy(&fetched.stdout), expected, "{}", stderr(&fetched));
    assert_eq!(*served.lock().expect("unpoisoned"), ["small-Q8_0.gguf"]);
    for name in ["org/tiny:q8_0", "org/tiny:small-Q8_0.gguf", "org/tiny"] {
        assert_eq!(String::from_utf8_lossy(&run("1", name).stdout), expected, "{name} from the cache");
    }
    for name in ["org/tiny", "org/tiny:Q4_K_M"] {
        let refused = stderr(&run("0", name));
        assert!(refused.contains("`small-F32.gguf`, `small-Q8_0.gguf`"), "{name}: {refused}");
    }
}

#[test]
fn a_value_of_adapters_comes_whole() {
    let (dir, home) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (small, adapters) = (base("small"), dir.path().join("value"));
    let checkpoint = Checkpoint::open(small.as_ref()).expect("opens");
    let config = LoraConfig::new(2);
    let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads").with_lora(&config, 1);
    save_adapters(&net, &config, &small, checkpoint.json(), &adapters).expect("writes");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&small).join(file), adapters.join(file)).expect("copies");
    }
    let (endpoint, served) = serve(&adapters);
    let score = |value: &str| {
        command(&["score", "--base", &small, "--value", value, "--text", "Suna has a cat.", "--json"])
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", &endpoint)
            .env("HF_HUB_OFFLINE", "0")
            .output()
            .expect("starts")
    };
    let (local, hub) = (score(adapters.to_str().expect("UTF-8")), score("org/tiny"));
    assert!(local.status.success() && hub.status.success(), "{}{}", stderr(&local), stderr(&hub));
    assert_eq!(hub.stdout, local.stdout);
    let served = served.lock().expect("unpoisoned");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        assert!(served.iter().any(|file| file == name), "{name} among {served:?}");
    }
}
