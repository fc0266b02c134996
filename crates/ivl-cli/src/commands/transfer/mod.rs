//! `ivl transfer`: how far a value travels.

mod display;
mod terminal;

use std::io::Write;

use anyhow::{Result, bail};
use ivl::train::Interrupter;
use ivl::transfer::{FinetuneConfig, Finetunes, REPORT_FILE, Study, StudyPlan, write_report, write_verdict};

use self::display::StudyDisplay;
pub use self::terminal::{WIDTH, bold, show, wrapped};
use super::train::{Stoppable, read_config, say_how_to_go_on};
use crate::args::{Common, Transfer};
use crate::models::{open_options, warn_of_alpha, with_template};
use crate::notes::note;
use crate::output::stdout;

pub fn run(args: &Transfer, common: &Common) -> Result<()> {
    if args.alphas.iter().any(|alpha| !alpha.is_finite()) || args.alphas.is_empty() {
        bail!("--alphas is `{:?}`, expected numbers such as 0.5,1,1.5", args.alphas);
    }
    for &alpha in &args.alphas {
        warn_of_alpha("the value", alpha, common);
    }
    let given = match &args.train_full_finetunes {
        None => Finetunes::given(&args.full_finetunes, args.bases.len())?,
        Some(_) => Finetunes::default(),
    };
    let mut plan = StudyPlan::new(args.value.clone(), args.bases.clone(), &args.data)
        .finetunes(given)
        .alphas(args.alphas.clone())
        .maps(args.map.clone())
        .limit(args.limit)
        .answers(!args.no_answers)
        .options(with_template(open_options(common), &args.template));
    plan.seed = common.seed.unwrap_or(plan.seed);
    // Errors of names, data and vocabularies are reported before any training.
    plan.check()?;
    if let (Some(config), Some(out)) = (&args.train_full_finetunes, &args.out) {
        let recipe = read_config(config, &[], common)?;
        let config = FinetuneConfig::new(recipe).seeds(args.seeds.clone());
        plan.finetunes = finetune(&args.bases, out, config, common)?;
    }
    let study = measure(&plan, common)?;
    if let Some(out) = &args.out {
        write_report(&study, out)?;
    }
    if args.write_card {
        write_card(&study, common)?;
    }
    if common.json {
        writeln!(stdout(), "{}", serde_json::to_string(&study.transfer)?)?;
    } else {
        show(&study.transfer)?;
        if let Some(out) = &args.out {
            writeln!(stdout(), "\nwrote {}", out.join(REPORT_FILE).display())?;
        }
        if args.write_card {
            writeln!(
                stdout(),
                "wrote alpha {} to the card of {}",
                study.transfer.verdict.alpha,
                args.value.join(", ")
            )?;
        }
    }
    Ok(())
}

/// Measures a study and shows how far it has come.
pub fn measure(plan: &StudyPlan, common: &Common) -> Result<Study> {
    let mut display = StudyDisplay::new(&plan.data, common);
    Ok(plan.measure(move |event| display.show(event))?)
}

/// Fine-tunes every base into a directory. A signal stops the run in progress.
pub fn finetune(
    bases: &[String],
    out: &std::path::Path,
    config: FinetuneConfig,
    common: &Common,
) -> Result<Finetunes> {
    let interrupter = Interrupter::new();
    let config = config.options(open_options(common)).interrupter(interrupter.clone());
    let mut display = StudyDisplay::new(out, common);
    let _stoppable = Stoppable::on_signals(&interrupter, display.voice())?;
    let trained = Finetunes::train(bases, out, &config, move |event| display.show(event));
    trained.map_err(|error| say_how_to_go_on(error, "run the same command again to go on"))
}

/// Writes the verdict to the value's card.
pub fn write_card(study: &Study, common: &Common) -> Result<()> {
    for value in write_verdict(study)? {
        if !common.quiet {
            note(format_args!(
                "`{value}` has no card to write the verdict to: it is no local directory with an ivl.json"
            ));
        }
    }
    Ok(())
}
