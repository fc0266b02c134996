//! Load a base and a value, fuse them, and generate at three weights.
//!
//! ```text
//! cargo run --release -p ivl-cli --example fuse -- examples/first-value/large runs/first-value "Question: .."
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks on standard output")]

use burn::tensor::{DType, Device};
use ivl_core::decode::{GenerateConfig, generate};
use ivl_core::{FusedLm, Value, ValueStack};
use ivl_models::Checkpoint;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let base_dir = args.next().unwrap_or_else(|| "examples/first-value/large".to_owned());
    let value_dir = args.next().unwrap_or_else(|| "examples/first-value/small".to_owned());
    let prompt = args.next().unwrap_or_else(|| "Question: Where does Suna live?\nAnswer:".to_owned());

    let device = Device::flex();
    let checkpoint = Checkpoint::open(base_dir.as_ref())?;
    let (base, tokenizer) = checkpoint.load_lm(&device, DType::F32)?;
    let (value, _) = Checkpoint::open(value_dir.as_ref())?.load_lm(&device, DType::F32)?;

    // Vocabularies are compared here: a value of another one is refused, with the first token that differs.
    let mut fused = FusedLm::new(Box::new(base), vec![Value::new(Box::new(value), 1.0)])?;
    let ids = tokenizer.encode(&prompt, true)?;
    let end_tokens = checkpoint.end_tokens(&tokenizer)?;
    let config = GenerateConfig::default().max_new_tokens(16).end_tokens(end_tokens);
    for alpha in [0.0, 0.5, 1.0] {
        fused.set_alpha(0, alpha)?;
        let mut text = String::new();
        for step in generate(&fused, &[&ids], &config)? {
            text += &step?.text;
        }
        println!("alpha {alpha}:{text}");
    }
    Ok(())
}
