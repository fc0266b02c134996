//! The files of a study's report.

use std::path::Path;

use ivl_eval::transfer::Measured;
use ivl_eval::transfer::report::{Report, markdown};
use serde_json::json;

use super::study::Study;
use crate::error::{Error, Result};

/// Name of the page.
pub const REPORT_FILE: &str = "report.html";

/// Questions that a report shows with their answers.
const SHOWN: usize = 4;

/// Writes the table as Markdown and JSON, every answer, and the page into a directory; each whole or not at all.
///
/// # Errors
/// [`Error::File`].
///
/// # Panics
/// Never: a table serialises.
pub fn write_report(study: &Study, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let put = |name: &str, text: String| ivl_models::write_bytes(&out.join(name), text.as_bytes());
    put("table.md", markdown(&study.transfer))?;
    put("table.json", serde_json::to_string_pretty(&study.transfer).expect("a table serialises") + "\n")?;
    put("answers.jsonl", answers(study))?;
    let report = Report {
        transfer: &study.transfer,
        examples: study.examples(SHOWN),
        heat_map: study.heat_map.as_ref(),
    };
    put(REPORT_FILE, report.html())?;
    Ok(())
}

/// One line for each question, base and setting.
fn answers(study: &Study) -> String {
    let mut lines = String::new();
    for base in &study.measured {
        let alone = ("alone", None, std::slice::from_ref(&base.alone));
        let with = base.with.iter().zip(&study.transfer.source.alphas);
        let with = with.map(|(seeds, &alpha)| ("with", Some(alpha), seeds.as_slice()));
        let tuned = ("full", None, base.tuned.as_slice());
        for (setting, alpha, seeds) in std::iter::once(alone).chain(with).chain(std::iter::once(tuned)) {
            for (seed, measured) in seeds.iter().enumerate() {
                for index in 0..measured.observed.len() {
                    let line = line(study, measured, index);
                    let place = json!({ "question": index, "base": base.name, "setting": setting, "alpha": alpha, "seed": seed });
                    if let (Some(mut all), serde_json::Value::Object(line)) =
                        (place.as_object().cloned(), line)
                    {
                        all.extend(line);
                        lines += &serde_json::Value::Object(all).to_string();
                        lines.push('\n');
                    }
                }
            }
        }
    }
    lines
}

fn line(study: &Study, measured: &Measured, index: usize) -> serde_json::Value {
    let seen = &measured.observed[index];
    let answer = measured.answers.as_ref().map(|answers| &answers[index]);
    json!({
        "prompt": study.questions[index].0,
        "reference": study.questions[index].1,
        "answer": answer.map(|answer| &answer.text),
        "correct": answer.map(|answer| answer.correct),
        "logprob": -seen.nll,
        "tokens": seen.tokens,
        "kl": seen.kl,
        "flips": seen.flips,
    })
}
