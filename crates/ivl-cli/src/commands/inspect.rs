//! `ivl inspect`: what a model or value is.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use crate::args::{Common, Inspect};
use crate::output::stdout;

pub fn run(args: &Inspect, common: &Common) -> Result<()> {
    let report = ivl::inspect(&args.model)?;
    let mut out = stdout();
    if common.json {
        writeln!(out, "{report}")?;
        return Ok(());
    }
    show(&mut out, &report, 0)
}

/// Prints an object as indented lines, without what is null.
fn show(out: &mut impl Write, value: &Value, depth: usize) -> Result<()> {
    let Value::Object(map) = value else { return Ok(()) };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                writeln!(out, "{indent}{key}:")?;
                show(out, value, depth + 1)?;
            }
            Value::String(text) => writeln!(out, "{indent}{key}: {text}")?,
            other => writeln!(out, "{indent}{key}: {other}")?,
        }
    }
    Ok(())
}
