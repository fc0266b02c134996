//! `ivl serve` as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::command;

/// A server that is stopped when it is dropped.
pub struct Running {
    pub process: Child,
    /// What it printed when it listened.
    pub said: Value,
}

impl Running {
    /// Starts `ivl serve` on a free port, with more options.
    pub fn new(more: &[&str]) -> Self {
        let mut args = vec!["serve", "--port", "0", "--json"];
        args.extend(more);
        let mut process = command(&args).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
        Self { said: serde_json::from_str(&line).expect("JSON"), process }
    }

    /// Sends a request and returns the answer, head and all.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.said["address"].as_str().expect("an address").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("connects");
        let head = format!("host: localhost\r\nconnection: close\r\ncontent-length: {}", body.len());
        stream
            .write_all(format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes())
            .expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        answer
    }

    /// The JSON of an answer of status 200.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
