//! Train a value from code, with the losses as they come, and use it.
//!
//! ```text
//! cargo run --release -p ivl-cli --example train_value -- runs/from-code
//! ```

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::path::PathBuf;

use ivl::train::Event;
use ivl::{GenerateConfig, Model, TrainConfig, TrainEvent, TrainedValue};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config: TrainConfig = toml::from_str(
        "output = 'runs/from-code'
         base = 'examples/first-value/small'
         [value]
         # These tiny models know nothing of answers: a value has to say most of it, and may begin as a whole copy.
         initial_scale = 1.0
         [data]
         train = ['examples/first-value/train.jsonl']
         eval = ['examples/first-value/held-out.jsonl']
         [optimizer]
         learning_rate = 3e-3
         [steps]
         max_steps = 40
         batch_size = 8
         [regularization]
         base_dropout = 0.5
         [eval]
         bases = ['examples/first-value/large']",
    )?;
    if let Some(output) = std::env::args().nth(1) {
        config.output = PathBuf::from(output);
    }

    let TrainedValue { output, card, .. } = ivl::train(&config, |event| match event {
        TrainEvent::Run(Event::Step(step)) if step.step % 10 == 0 => {
            println!("step {} loss {:.3}", step.step, step.loss);
        }
        TrainEvent::Run(Event::Eval(eval)) => {
            println!(
                "held out, on {:?}: {:?} alone, {:.3} with the value",
                eval.base, eval.base_loss, eval.loss
            );
        }
        _ => {}
    })?;
    let card = card.ok_or("a value that was trained against a base has a card")?;
    println!("saved in {}: {} steps, connection {:?}", output.display(), card.steps, card.connection);

    let mut lm = Model::open("examples/first-value/large")?;
    lm.attach(&output)?;
    let answer = lm.generate("Question: Where does Suna live?\nAnswer:", &GenerateConfig::default())?;
    println!("{}", answer.text);
    Ok(())
}
