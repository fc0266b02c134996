//! Options of `ivl gate`.

use std::path::PathBuf;

use super::Template;

/// Fit a gate that weights a value position by position, and write it to the value's card
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl gate --base examples/first-value/small --value runs/first-value \\\n      \
        --data examples/first-value/held-out.jsonl\n\n\
        The gate multiplies the value wherever it is attached afterwards, on any base. It is fitted on three of each four rows; on \
        the others its loss is compared with that without a gate, and without a gain there nothing is written and the exit status \
        is 1. docs/explain.md says when a gate helps."
)]
pub struct GateOptions {
    /// Base to fit the gate on: that which the value was trained on
    #[arg(long, value_name = "MODEL", required_unless_present = "remove")]
    pub base: Option<String>,
    /// Value with a card, and its weight alpha, which multiplies the gate (default: the one in the card)
    #[arg(long, value_name = "VALUE[:ALPHA]")]
    pub value: String,
    /// File with demonstrations, as `ivl train` reads them
    #[arg(long, value_name = "FILE", required_unless_present = "remove")]
    pub data: Option<PathBuf>,
    /// Weight of mean (g - 1)^2, which keeps the gate g near 1
    #[arg(long, value_name = "P", default_value_t = ivl::GateFit::PENALTY)]
    pub penalty: f64,
    /// Map for a value with another vocabulary: a file written by `ivl align`, or a method that needs no corpus (exact,
    /// prefix, edit-distance, hybrid); may be repeated
    #[arg(long, value_name = "FILE|METHOD")]
    pub map: Vec<String>,
    #[command(flatten)]
    pub template: Template,
    /// Write a gate even if no gate, or a constant weight, is better on rows that it was not fitted on
    #[arg(long)]
    pub force: bool,
    /// Take the gate out of the card
    #[arg(long, conflicts_with_all = ["base", "data", "map", "force"])]
    pub remove: bool,
}
