//! A transfer study for people: Markdown, a terminal, and one HTML page that needs nothing else.

mod charts;
mod page;
mod table;

pub use page::{AnswerOf, HeatMap, Report, ReportExample};
pub use table::{Table, tables};

use crate::transfer::Transfer;

/// The study as Markdown.
pub fn markdown(transfer: &Transfer) -> String {
    let mut text = format!("# Transfer of {}\n\n", names(transfer));
    text += &format!("{} Recommended alpha: {}.\n", transfer.verdict.text, transfer.verdict.alpha);
    for table in tables(transfer) {
        text += &format!("\n## {}\n\n{}\n\n{}\n", table.title, table.note, table.markdown());
    }
    text
}

/// The value's directories, readable.
fn names(transfer: &Transfer) -> String {
    let values: Vec<String> = transfer.source.values.iter().map(|value| format!("`{value}`")).collect();
    values.join(", ")
}
