//! A server in this process on the models of `examples/first-value`, and a small HTTP client.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use burn::tensor::{DType, Device};
use ivl_core::decode::{GenerateConfig, Speculation, generate};
use ivl_core::fusion::BaseLm;
use ivl_core::{CausalLm, FusedLm, Value, ValueStack};
use ivl_models::{ChatTemplate, Checkpoint, SamplingDefaults, Tokenizer, TransformerLm};
use ivl_serve::{Catalog, CrossTokenizer, ServedBase, ServedValue, Server, Settings};
use tokio::sync::oneshot;

pub use serde_json::{Value as Json, json};

pub const ALPHA: f64 = 0.5;

pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/first-value").join(name)
}

pub fn load(name: &str) -> (TransformerLm, Tokenizer) {
    let checkpoint = Checkpoint::open(&example(name)).expect("opens");
    checkpoint.load_lm(&Device::flex(), DType::F32).expect("loads")
}

/// The base `large` with the value `small`, as the command line would fuse them.
pub fn fused(alpha: f64) -> FusedLm {
    let values = vec![Value::new(Box::new(load("small").0), alpha)];
    FusedLm::new(Box::new(load("large").0), values).expect("one vocabulary")
}

pub fn encode(text: &str) -> Vec<u32> {
    load("large").1.encode(text, true).expect("encodes")
}

/// The answer of `ivl generate`.
pub fn offline(lm: &dyn CausalLm, prompt: &[u32], config: &GenerateConfig) -> (Vec<u32>, String) {
    let mut answer = (Vec::new(), String::new());
    for step in generate(lm, &[prompt], config).expect("valid") {
        let step = step.expect("finite");
        answer.0.push(step.token);
        answer.1 += &step.text;
    }
    answer
}

pub fn value(id: &str, alpha: f64, cross_tokenizer: Option<CrossTokenizer>) -> ServedValue {
    ServedValue { id: id.to_owned(), alpha, template: None, cross_tokenizer }
}

/// Equal, but for the rounding of numbers: which rows share a step depends on when they were admitted, and the order of an f32
/// sum on how many they are.
#[track_caller]
pub fn assert_alike(a: &Json, b: &Json, what: &str) {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().expect("a number"), y.as_f64().expect("a number"));
            assert!((x - y).abs() <= 1e-5 * (1.0 + x.abs()), "{what}: {x} and {y}");
        }
        (Json::Array(x), Json::Array(y)) => {
            assert_eq!(x.len(), y.len(), "{what}");
            x.iter().zip(y).for_each(|(x, y)| assert_alike(x, y, what));
        }
        (Json::Object(x), Json::Object(y)) => {
            assert!(x.keys().eq(y.keys()), "{what}: {a} and {b}");
            x.values().zip(y.values()).for_each(|(x, y)| assert_alike(x, y, what));
        }
        _ => assert_eq!(a, b, "{what}"),
    }
}

/// The base `large` with a chat template.
pub fn base(template: &Path) -> ServedBase {
    ServedBase {
        id: "large".to_owned(),
        tokenizer: load("large").1,
        template: Some(ChatTemplate::from_file(template).expect("compiles")),
        end_tokens: vec![1],
        sampling: SamplingDefaults::default(),
    }
}

/// The default settings with changes.
pub fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// A running server.
pub struct Served {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Self::of(fused(1.0), settings)
    }

    /// A server of any base with the value `small`, or of a base without values.
    pub fn of(lm: impl Into<BaseLm>, settings: Settings) -> Self {
        Self::start(lm, None, None, settings)
    }

    /// As [`of`](Self::of), with something that guesses ahead, and a value that has tokens of its own.
    pub fn start(
        lm: impl Into<BaseLm>,
        speculation: Option<Speculation>,
        cross_tokenizer: Option<CrossTokenizer>,
        settings: Settings,
    ) -> Self {
        let lm = lm.into();
        let value = value("small", ALPHA, cross_tokenizer);
        let values = if lm.num_values() == 0 { Vec::new() } else { vec![value] };
        Self::of_values(lm, speculation, values, settings)
    }

    /// A server of any base with values of these names.
    pub fn of_values(
        lm: impl Into<BaseLm>,
        speculation: Option<Speculation>,
        values: Vec<ServedValue>,
        settings: Settings,
    ) -> Self {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/served/chat_template.jinja");
        Self::assemble(lm.into(), speculation, base(&template), values, settings)
    }

    /// A server of `large` without values, with another chat template.
    pub fn with_template(source: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("chat_template.jinja");
        std::fs::write(&path, source).expect("writes");
        Self::assemble(BaseLm::plain(load("large").0), None, base(&path), Vec::new(), Settings::default())
    }

    /// A server of these parts.
    pub fn assemble(
        lm: BaseLm,
        speculation: Option<Speculation>,
        base: ServedBase,
        values: Vec<ServedValue>,
        mut settings: Settings,
    ) -> Self {
        settings.port = 0;
        let catalog = Catalog::new(base, values, lm.vocab(), lm.max_positions()).expect("two names");
        let server = Server::bind(lm, speculation, catalog, settings).expect("binds");
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let stop = async {
                let _ = stopped.await;
            };
            server.run_until(stop, std::future::pending());
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks the server to stop, as a first signal does.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until everything has ended.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        send(self.address, &request("GET", path, "", ""))
    }

    pub fn post(&self, path: &str, body: &Json) -> Answer {
        send(self.address, &request("POST", path, "", &body.to_string()))
    }

    /// A completion that must succeed.
    #[track_caller]
    pub fn complete(&self, body: &Json) -> Json {
        let answer = self.post("/v1/completions", body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()
    }

    /// The value of a metric without labels, or the sum over all.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let values = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits for a condition on a metric.
    #[track_caller]
    pub fn wait_for(&self, name: &str, holds: impl Fn(f64) -> bool) {
        for _ in 0..1000 {
            if holds(self.metric(name)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} stays {}", self.metric(name));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            self.join();
        }
    }
}

/// An answer, headers in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The objects of a stream; the last event must be `[DONE]`.
    #[track_caller]
    pub fn events(&self) -> Vec<Json> {
        let text = self.text();
        let mut events: Vec<&str> =
            text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{text}");
        events.into_iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
    }
}

pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Sends bytes and reads the answer to its end.
#[track_caller]
pub fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connects");
    // A server that refuses a body stops reading it: what it says is read all the same.
    let _ = stream.write_all(request.as_bytes());
    read(&mut stream)
}

#[track_caller]
pub fn read(stream: &mut TcpStream) -> Answer {
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("sets");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the headers");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = bytes[end + 4..].to_vec();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(&body) } else { body };
    Answer { status, headers: head, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).expect("ASCII"), 16)
            .expect("hexadecimal");
        let start = line + 2;
        if size == 0 || rest.len() < start + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[start..start + size]);
        rest = &rest[start + size + 2..];
    }
    body
}
