//! `ivl convert`: a model in another file format.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use crate::args::{Common, Convert};
use crate::notes::note;
use crate::output::stdout;

pub fn run(args: &Convert, common: &Common) -> Result<()> {
    let notes = ivl::convert(&args.model, args.to.parse()?, &args.out)?;
    if common.json {
        writeln!(stdout(), "{}", json!({ "out": args.out, "notes": notes }))?;
        return Ok(());
    }
    if !common.quiet {
        for text in &notes {
            note(format_args!("note: {text}"));
        }
    }
    writeln!(stdout(), "wrote {}", args.out.display())?;
    Ok(())
}
