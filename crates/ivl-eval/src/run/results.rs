//! Figures as people and programs read them.

use serde_json::{Map, Value, json};

use super::outcome::Outcome;

/// Columns of numbers.
const TO_THE_RIGHT: [bool; 8] = [false, false, true, false, false, true, false, true];

/// A Markdown table in the shape of lm-evaluation-harness: one line a figure, `±` before its standard error.
pub fn results_table(outcomes: &[Outcome]) -> String {
    let mut rows =
        vec![["Tasks", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"].map(str::to_owned)];
    for outcome in outcomes {
        for (index, figure) in outcome.figures.iter().enumerate() {
            let name = if index == 0 { outcome.task.clone() } else { String::new() };
            let error = figure.standard_error.map_or_else(|| "N/A".to_owned(), |error| format!("{error:.4}"));
            rows.push([
                name,
                figure.filter.clone(),
                outcome.num_fewshot.to_string(),
                figure.metric.to_owned(),
                if figure.higher_is_better { "↑" } else { "↓" }.to_owned(),
                format!("{:.4}", figure.value),
                "±".to_owned(),
                error,
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match TO_THE_RIGHT[column] {
                true => text.push_str(&format!("|{cell:>width$}")),
                false => text.push_str(&format!("|{cell:<width$}")),
            }
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let rule = "-".repeat(width - usize::from(TO_THE_RIGHT[column]));
                text.push_str(&format!("|{rule}{}", if TO_THE_RIGHT[column] { ":" } else { "" }));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// One object with the keys of lm-evaluation-harness: `results` by task, each figure under `metric,filter` and its error
/// under `metric_stderr,filter`, and how many samples and examples there were.
pub fn results_json(outcomes: &[Outcome]) -> Value {
    let by_task = |of: &dyn Fn(&Outcome) -> Value| {
        Value::Object(outcomes.iter().map(|outcome| (outcome.task.clone(), of(outcome))).collect())
    };
    json!({
        "results": by_task(&|outcome| Value::Object(results(outcome))),
        "n-samples": by_task(&|outcome| json!({ "original": outcome.rows, "effective": outcome.samples })),
        "n-shot": by_task(&|outcome| json!(outcome.num_fewshot)),
        "notes": by_task(&|outcome| json!({
            "cut": outcome.notes.cut,
            "without_gold": outcome.notes.without_gold,
            "unreadable": outcome.notes.unreadable,
            "from_log": outcome.logged,
        })),
    })
}

fn results(outcome: &Outcome) -> Map<String, Value> {
    let mut results = Map::new();
    for figure in &outcome.figures {
        let (metric, filter) = (figure.metric, &figure.filter);
        results.insert(format!("{metric},{filter}"), json!(figure.value));
        results.insert(format!("{metric}_stderr,{filter}"), json!(figure.standard_error));
    }
    results
}
