//! `ivl transfer`: how far a value travels.

mod base;
mod card;
mod files;
mod finetunes;
mod plug;
mod questions;
mod study;
mod terminal;

use anyhow::{Result, bail};

pub use self::card::write as write_verdict;
pub use self::files::write as write_report;
pub use self::finetunes::Finetunes;
pub use self::study::{Study, StudyPlan};
pub use self::terminal::{WIDTH, bold, show, wrapped};
use crate::args::{Common, Transfer};

pub fn run(args: &Transfer, common: &Common) -> Result<()> {
    if args.alphas.iter().any(|alpha| !alpha.is_finite()) || args.alphas.is_empty() {
        bail!("--alphas is `{:?}`, expected numbers such as 0.5,1,1.5", args.alphas);
    }
    let full = match &args.train_full_finetunes {
        None => Finetunes::given(&args.full_finetunes, args.bases.len())?,
        Some(_) => Finetunes::default(),
    };
    let mut plan = StudyPlan {
        values: args.value.clone(),
        bases: args.bases.clone(),
        data: args.data.clone(),
        full,
        alphas: args.alphas.clone(),
        map: args.map.clone(),
        limit: args.limit,
        answers: !args.no_answers,
    };
    // Whatever is wrong with names, data or vocabularies is said before anything is trained.
    plan.check()?;
    if let (Some(config), Some(out)) = (&args.train_full_finetunes, &args.out) {
        plan.full = Finetunes::trained(config, &args.bases, &args.seeds, out, common)?;
    }
    let study = plan.measure(common)?;
    if let Some(out) = &args.out {
        write_report(&study, out)?;
    }
    if !args.keep_card {
        write_verdict(&plan, &study, common)?;
    }
    if common.json {
        println!("{}", serde_json::to_string(&study.transfer)?);
    } else {
        show(&study.transfer)?;
        if let Some(out) = &args.out {
            println!("\nwrote {}", out.join(files::REPORT).display());
        }
    }
    Ok(())
}
