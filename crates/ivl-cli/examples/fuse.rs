//! Open a base, attach a value, and generate at three weights.
//!
//! ```text
//! cargo run --release -p ivl-cli --example fuse -- examples/first-value/large runs/first-value "Question: .."
//! ```

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use ivl::{Attach, GenerateConfig, Model};

fn main() -> Result<(), ivl::Error> {
    let mut args = std::env::args().skip(1);
    let base = args.next().unwrap_or_else(|| "examples/first-value/large".to_owned());
    let value = args.next().unwrap_or_else(|| "examples/first-value/small".to_owned());
    let prompt = args.next().unwrap_or_else(|| "Question: Where does Suna live?\nAnswer:".to_owned());

    let mut lm = Model::open(base)?;
    // Vocabularies are compared here: a value of another one is refused, with the first token that differs.
    lm.attach_with(value, Attach::new().name("value"))?;
    let config = GenerateConfig::default().max_new_tokens(16);
    for alpha in [0.0, 0.5, 1.0] {
        lm.set_alpha("value", alpha)?;
        println!("alpha {alpha}:{}", lm.generate(&prompt, &config)?.text);
    }
    Ok(())
}
