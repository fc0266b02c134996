//! The wording of help texts and errors, as snapshots: a change shows up in review as a change of text.
//!
//! Accept new wording with `INSTA_UPDATE=always cargo test --release --workspace --test wording`.

#[path = "../run/mod.rs"]
mod run;

mod errors;
mod examples;
mod help;

/// Every verb of the command, as words of its command line.
const VERBS: [&[&str]; 18] = [
    &["train"],
    &["data", "preview"],
    &["data", "export"],
    &["distill"],
    &["generate"],
    &["chat"],
    &["score"],
    &["explain"],
    &["gate"],
    &["align"],
    &["eval"],
    &["inspect"],
    &["convert"],
    &["bench"],
    &["parity"],
    &["serve"],
    &["transfer"],
    &["demo"],
];
