//! `ivl convert`: a model in another file format.

use anyhow::Result;
use serde_json::json;

use crate::args::{Common, Convert};
use crate::notes::note;

pub fn run(args: &Convert, common: &Common) -> Result<()> {
    let notes = ivl::convert(&args.model, args.to.parse()?, &args.out)?;
    if common.json {
        println!("{}", json!({ "out": args.out, "notes": notes }));
        return Ok(());
    }
    if !common.quiet {
        notes.iter().for_each(|text| note(format_args!("note: {text}")));
    }
    println!("wrote {}", args.out.display());
    Ok(())
}
