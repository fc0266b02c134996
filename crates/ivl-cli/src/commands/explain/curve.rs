//! Savings of gates.

use std::io::Write;

use anyhow::Result;
use ivl::TokenExplanation;
use ivl::eval::explanation::{GatePoint, GateSignal, gate_curve, most_skipped, skipped_at_random};
use serde_json::{Value, json};

use crate::args::Common;

/// Agreements that the table shows.
const AGREEMENTS: [f64; 4] = [1.0, 0.99, 0.95, 0.9];

/// Points of a curve in JSON, at equal steps of the share of positions.
const POINTS: usize = 100;

pub fn print(out: &mut impl Write, explained: &[&TokenExplanation], common: &Common) -> Result<()> {
    let flips =
        explained.iter().filter(|explained| explained.change.flip).count() as f64 / explained.len() as f64;
    let curves =
        [GateSignal::Entropy, GateSignal::Margin].map(|signal| (signal, gate_curve(signal, explained)));
    if common.json {
        let random: Vec<Value> = AGREEMENTS
            .iter()
            .map(|&agreement| json!({"agreement": agreement, "skipped": skipped_at_random(flips, agreement)}))
            .collect();
        let mut object = json!({"positions": explained.len(), "flip_rate": flips, "random": random});
        for (signal, curve) in &curves {
            let best: Vec<Value> = AGREEMENTS
                .iter()
                .map(|&agreement| json!({"agreement": agreement, "point": most_skipped(curve, agreement).map(point)}))
                .collect();
            object[signal.name()] = json!({"best": best, "curve": thinned(curve)});
        }
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} positions; base and values choose another token at {:.1}%\n",
        explained.len(),
        100.0 * flips
    )?;
    writeln!(out, "passes of the values saved while choices agree with the ungated ones at")?;
    write!(out, "{:<10}", "gate")?;
    AGREEMENTS
        .iter()
        .try_for_each(|agreement| write!(out, " {:>24}", format!("{:.0}%", 100.0 * agreement)))?;
    writeln!(out)?;
    for (signal, curve) in &curves {
        write!(out, "{:<10}", signal.name())?;
        for agreement in AGREEMENTS {
            let cell = most_skipped(curve, agreement).map_or_else(
                || "0.0%".to_owned(),
                |point| format!("{:.1}% at {:.4}", 100.0 * point.skipped, point.threshold),
            );
            write!(out, " {cell:>24}")?;
        }
        writeln!(out)?;
    }
    write!(out, "{:<10}", "random")?;
    for agreement in AGREEMENTS {
        write!(out, " {:>24}", format!("{:.1}%", 100.0 * skipped_at_random(flips, agreement)))?;
    }
    writeln!(out)?;
    Ok(())
}

fn point(GatePoint { threshold, skipped, agreement }: GatePoint) -> Value {
    json!({"threshold": threshold, "skipped": skipped, "agreement": agreement})
}

/// The last point of each equal part.
fn thinned(curve: &[GatePoint]) -> Vec<Value> {
    let part = |point: &GatePoint| (point.skipped * POINTS as f64).ceil() as usize;
    curve.chunk_by(|a, b| part(a) == part(b)).filter_map(|same| same.last().copied().map(point)).collect()
}
