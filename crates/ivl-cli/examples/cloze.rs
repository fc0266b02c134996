//! What each built-in model knows: how often it completes a fact that it has read, such as `Mara Vost was born in`.
//!
//! ```text
//! cargo run --release -p ivl-cli --example cloze
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks on standard output")]

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use ivl_core::decode::{EndTokens, GenerateConfig, generate};
use ivl_demo_models::{held_out, models};
use ivl_models::Checkpoint;

/// Texts that are completed at once.
const ROWS: usize = 64;
/// Enough tokens for any fact.
const TOKENS: usize = 8;

fn main() -> anyhow::Result<()> {
    let questions = held_out();
    let asked: Vec<(&str, (&str, &str))> =
        questions.iter().filter_map(|q| Some((q.kind.as_str(), q.cloze()?))).collect();
    let device = Device::flex();
    let dir = tempfile::tempdir()?;
    for model in models() {
        let checkpoint = Checkpoint::open(&model.unpack(dir.path())?)?;
        let (lm, tokenizer) = checkpoint.load_lm(&device, DType::F32)?;
        let mut known: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for rows in asked.chunks(ROWS) {
            let prompts: Vec<Vec<u32>> =
                rows.iter().map(|(_, (text, _))| tokenizer.encode(text, true)).collect::<Result<_, _>>()?;
            let mut texts = vec![String::new(); rows.len()];
            for step in generate(
                &lm,
                &prompts,
                &GenerateConfig::default().max_new_tokens(TOKENS).end_tokens(EndTokens::none()),
            )? {
                let step = step?;
                texts[step.row].push_str(&step.text);
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
