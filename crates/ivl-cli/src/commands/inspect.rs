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

/// Items of the longest list that is printed whole: some tokenizers have thousands of control tokens.
const LIST: usize = 32;

/// Prints an object as indented lines, without what is null, and of long lists only the beginning.
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
            Value::Array(items) if items.len() > LIST => {
                let first: Vec<String> = items[..8].iter().map(Value::to_string).collect();
                writeln!(out, "{indent}{key}: [{},..] ({} in all)", first.join(","), items.len())?;
            }
            other => writeln!(out, "{indent}{key}: {other}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_lists_are_cut() {
        let mut out = Vec::new();
        super::show(&mut out, &serde_json::json!({"few": [1], "ids": vec![7; 6249]}), 0).expect("writes");
        assert_eq!(out, b"few: [1]\nids: [7,7,7,7,7,7,7,7,..] (6249 in all)\n");
    }
}
