//! `ivl demo`: the whole story on the models that ship with ivl.

mod directory;
mod story;

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use ivl::transfer::{FinetuneConfig, Finetunes, StudyPlan, write_report};
use ivl::{Training, is_result_of};

use self::directory::DemoDirectory;
use crate::args::{Common, Demo};
use crate::commands::train::{fit, read_config};
use crate::commands::transfer::{finetune, measure, show, write_card};
use crate::models::open_options;
use crate::notes::note;
use crate::output::stdout;

/// Seed of the demonstration, unless --seed is given.
const SEED: u64 = 1;

/// The extent of the demonstration.
struct Extent {
    /// Optimizer steps of the value; 0 is all.
    steps: usize,
    /// Held-out questions to each base.
    questions: usize,
    /// Whether every base is also fine-tuned by itself, to compare with.
    tuned: bool,
}

const WHOLE: Extent = Extent { steps: 0, questions: 500, tuned: true };
const QUICK: Extent = Extent { steps: 120, questions: 40, tuned: false };

pub fn run(args: &Demo, common: &Common) -> Result<()> {
    let began = Instant::now();
    let extent = if args.quick { QUICK } else { WHOLE };
    let say = |line: &str| {
        if !common.quiet {
            note(line);
        }
    };
    let directory = DemoDirectory::prepare(&args.out, common.seed.unwrap_or(SEED), extent.steps)?;
    say(&story::beginning(&directory));
    train_value(&directory, common, &say)?;
    let bases = directory.models();
    let full = if extent.tuned {
        say("\nFor comparison, a fine-tuning of each by itself:");
        let recipe = read_config(&directory.comparison(), &[], &file_seed(common))?;
        finetune(&bases, &args.out, FinetuneConfig::new(recipe), common)?
    } else {
        Finetunes::default()
    };
    say(&format!(
        "\nEvaluating every base on {} questions about others, without and with the value:",
        extent.questions
    ));
    let mut plan = StudyPlan::new(vec![directory.value()], bases, directory.questions())
        .finetunes(full)
        .limit(Some(extent.questions))
        .options(open_options(common));
    plan.seed = common.seed.unwrap_or(plan.seed);
    let study = measure(&plan, common)?;
    write_report(&study, &args.out)?;
    write_card(&study, common)?;
    if common.json {
        writeln!(stdout(), "{}", serde_json::to_string(&study.transfer)?)?;
        return Ok(());
    }
    writeln!(stdout(), "{}", story::side_by_side(&study))?;
    show(&study.transfer)?;
    writeln!(stdout(), "{}", story::end(&directory, began.elapsed()))?;
    Ok(())
}

/// The seed of a run is that of its recipe.
fn file_seed(common: &Common) -> Common {
    Common { seed: None, ..common.clone() }
}

/// Trains the value as `ivl train` does, or finds what an earlier call has made.
fn train_value(directory: &DemoDirectory, common: &Common, say: &dyn Fn(&str)) -> Result<()> {
    let config = read_config(&directory.recipe(), &[], &file_seed(common))?;
    if config.output.join("config.json").exists() && is_result_of(&config) {
        say("The value was trained by an earlier call.");
        return Ok(());
    }
    let resume = config.output.join("checkpoints").is_dir();
    let trained = fit(Training::new(&config).resume(resume), "run the same command again to go on", common);
    let trained = trained.context("training the value")?;
    say(&format!("Trained in {} steps, on {} tokens of answers.", trained.run.steps, trained.run.tokens));
    Ok(())
}
