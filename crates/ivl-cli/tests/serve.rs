//! `ivl serve` as a process: it says where it is, answers, ends in order, and refuses what cannot be meant.

#![cfg(unix)]

mod run;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use run::{base, command, fails};

#[test]
fn a_server_says_where_it_is_answers_and_ends_on_sigterm() {
    let (large, small) = (base("large"), format!("plain={}:0.5", base("small")));
    let mut server = command(&["serve", "--base", &large, "--value", &small, "--port", "0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(said["models"], serde_json::json!(["large", "plain"]));
    let address = said["address"].as_str().expect("an address").trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connects");
    stream
        .write_all(b"GET /v1/models/plain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("reads");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"alpha\":0.5"), "{answer}");
    assert!(!answer.contains("examples"), "no path in an answer");
    let kill = Command::new("kill").arg(server.id().to_string()).status().expect("kill");
    assert!(kill.success() && server.wait().expect("ends").success());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (large, small) = (base("large"), base("small"));
    let serve = |more: &[&str], parts: &[&str]| {
        let mut args = vec!["serve", "--base", &large, "--port", "0"];
        args.extend(more);
        fails(&args, parts);
    };
    serve(&["--host", "0.0.0.0"], &["--api-key", "--open"]);
    serve(&["--max-rows", "0"], &["`max_rows` is 0"]);
    serve(&["--value", &format!("large={small}")], &["two models are called `large`", "ID=VALUE"]);
    serve(&["--value", &format!("={small}")], &["expected a name before `=`"]);
    serve(&["--value", "nowhere/value"], &["nowhere/value"]);
}
