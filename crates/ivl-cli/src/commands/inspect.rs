//! `ivl inspect`: what a model or value is.

use anyhow::Result;
use serde_json::Value;

use crate::args::{Common, Inspect};

pub fn run(args: &Inspect, common: &Common) -> Result<()> {
    let report = ivl::inspect(&args.model)?;
    if common.json {
        println!("{report}");
        return Ok(());
    }
    show(&report, 0);
    Ok(())
}

/// Prints an object as indented lines, without what is null.
fn show(value: &Value, depth: usize) {
    let Value::Object(map) = value else { return };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                println!("{indent}{key}:");
                show(value, depth + 1);
            }
            Value::String(text) => println!("{indent}{key}: {text}"),
            other => println!("{indent}{key}: {other}"),
        }
    }
}
