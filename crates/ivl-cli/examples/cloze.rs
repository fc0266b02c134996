//! What each built-in model knows: how often it completes a fact that it has read, such as `Mara Vost was born in`.
//!
//! ```text
//! cargo run --release -p ivl-cli --example cloze
//! ```

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::collections::BTreeMap;

use ivl::core::decode::EndTokens;
use ivl::{GenerateConfig, Model};
use ivl_demo_models::{held_out, models};

/// Texts that are completed at once.
const ROWS: usize = 64;
/// Enough tokens for any fact.
const TOKENS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let questions = held_out();
    let clozes: Vec<(&str, (&str, &str))> =
        questions.iter().filter_map(|q| Some((q.kind.as_str(), q.cloze()?))).collect();
    let config = GenerateConfig::default().max_new_tokens(TOKENS).end_tokens(EndTokens::none());
    let dir = tempfile::tempdir()?;
    for model in models() {
        let lm = Model::open(model.unpack(dir.path())?)?;
        let mut known: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for rows in clozes.chunks(ROWS) {
            let prompts: Vec<Vec<u32>> =
                rows.iter().map(|(_, (text, _))| lm.encode_prompt(text)).collect::<Result<_, _>>()?;
            let mut texts = vec![String::new(); rows.len()];
            for token in lm.stream_tokens(&prompts, &config)? {
                let token = token?;
                texts[token.row].push_str(&token.text);
            }
            for ((kind, (_, fact)), text) in rows.iter().zip(&texts) {
                let (right, all) = known.entry(kind).or_default();
                *right += usize::from(text.starts_with(fact));
                *all += 1;
            }
        }
        let (right, all) = known.values().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let percent = |(right, all): (usize, usize)| 100.0 * right as f64 / all as f64;
        println!("{}: {:.1}% of {all}", model.name, percent((right, all)));
        for (kind, &part) in &known {
            println!("    {kind:12} {:5.1}%", percent(part));
        }
    }
    Ok(())
}
