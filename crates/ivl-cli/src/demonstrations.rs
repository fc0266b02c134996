//! Demonstrations of a run as examples, with notes on what was lost.

use std::path::PathBuf;

use anyhow::Result;
use ivl_train::{Dataset, Encoder, Examples, SourceReport, TrainConfig};

use crate::args::Common;
use crate::progress::bar;

/// Tokenises a dataset, and notes what was lost; `what` names the setting. No sources give no examples.
pub fn encode(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    what: &'static str,
    config: &TrainConfig,
    common: &Common,
) -> Result<Examples> {
    if dataset.sources.is_empty() {
        return Ok(Examples::default());
    }
    let examples = tokenize(dataset, encoder, what, config, common)?;
    for report in examples.reports().iter().filter(|report| report.truncated + report.dropped > 0) {
        if !common.quiet {
            eprintln!("{what}: {}", losses(report, encoder.max_length()));
        }
    }
    Ok(examples)
}

/// Tokenises a dataset, or finds its tokens from an earlier run.
pub fn tokenize(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    what: &'static str,
    config: &TrainConfig,
    common: &Common,
) -> Result<Examples> {
    let bar = bar(common, 0, "tokenizing {human_pos} rows");
    let cache = token_dir(config);
    let examples = Examples::encode(dataset, encoder, what, &cache, &mut |rows| bar.set_position(rows))?;
    bar.finish_and_clear();
    Ok(examples)
}

/// Where tokens are kept between runs.
fn token_dir(config: &TrainConfig) -> PathBuf {
    config.data.cache.clone().unwrap_or_else(|| config.output.join("tokens"))
}

/// What of a source is not learnt from.
pub fn losses(report: &SourceReport, max_length: usize) -> String {
    format!(
        "{} of {} rows of `{}` were cut to {max_length} tokens ({} tokens lost), {} had nothing learnt left and were left out",
        report.truncated,
        report.rows,
        report.path.display(),
        report.cut,
        report.dropped
    )
}
