//! The text of the demonstration.

use std::time::Duration;

use super::directory::DemoDirectory;
use ivl::transfer::Study;

use crate::commands::transfer::{WIDTH, bold, wrapped};

/// Questions whose answers are shown.
const SHOWN: usize = 3;

/// Widest answer in a column.
const COLUMN: usize = 31;

/// The models, and the next steps.
pub fn beginning(directory: &DemoDirectory) -> String {
    let mut text =
        String::from("Five small models that were pre-trained on texts about an invented world:\n\n");
    for model in ivl_demo_models::models() {
        for (index, line) in wrapped(model.about, WIDTH - 13).iter().enumerate() {
            let name = if index == 0 { model.name } else { "" };
            text += &format!("  {name:<10} {line}\n");
        }
    }
    let next = format!(
        "None has ever seen a question. Now a value learns to answer questions, against `small` alone, from demonstrations \
         about one half of that world ({}):",
        directory.recipe().display()
    );
    text + "\n" + &wrapped(&next, WIDTH).join("\n")
}

/// The first questions, with what every base answers.
pub fn side_by_side(study: &Study) -> String {
    let [strong, plain] = bold();
    let mut text = String::new();
    for example in study.examples(SHOWN) {
        text += &format!("\n{strong}{}{plain}\n", example.question.trim());
        text += &format!("  {:<10}  {:<COLUMN$}    {}\n", "base", "alone", "with the value");
        for of in &example.answers {
            let alone = cell(&of.alone.0);
            let mark = if of.with.1 { "✓" } else { "✗" };
            text += &format!("  {:<10}  {alone:<COLUMN$}  {mark} {}\n", of.base, cell(&of.with.0));
        }
    }
    text
}

/// An answer on one line.
fn cell(answer: &str) -> String {
    let line: String = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= COLUMN {
        return line;
    }
    line.chars().take(COLUMN - 1).chain(std::iter::once('…')).collect()
}

/// Where to look, and how to go on.
pub fn end(directory: &DemoDirectory, took: Duration) -> String {
    let [strong, plain] = bold();
    let (large, value) = (directory.model("large"), directory.value());
    let further = [
        (
            format!("ivl serve --base {large} --value {value}"),
            "the same in a browser, at http://127.0.0.1:8080",
        ),
        (
            format!("ivl chat --base {large} --value {value}"),
            "talk to it here; /alpha and /explain change and show what the value does",
        ),
        (format!("ivl inspect {value}"), "the value's card, with the verdict"),
        (
            format!("ivl train {} --set output=runs/mine --set steps.epochs=6", directory.recipe().display()),
            "another value; docs/training.md explains every key",
        ),
    ];
    let line = |(command, about): &(String, &str)| format!("  {command}\n      {about}\n");
    format!(
        "\nAll of it took {:.0} s. Open {strong}{}{plain} in a browser. Then:\n\n{}",
        took.as_secs_f64(),
        directory.file("report.html").display(),
        further.iter().map(line).collect::<String>().trim_end(),
    )
}
