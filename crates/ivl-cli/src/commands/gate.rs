//! `ivl gate`: a learned gate in a value's card.

use std::io::Write;

use anyhow::{Result, bail};
use ivl::models::{GateCard, GateLosses};
use ivl::{Attach, GateFit, remove_gate};
use serde_json::json;

use crate::args::{Common, GateOptions};
use crate::models::{open_options, value_and_alpha, with_template};
use crate::notes::note;
use crate::output::stdout;
use crate::progress::bar;

pub fn run(args: &GateOptions, common: &Common) -> Result<()> {
    let (value, alpha) = value_and_alpha(&args.value)?;
    let (Some(base), Some(data)) = (&args.base, &args.data) else { return remove(value, common) };
    let mut attach = Attach::new();
    (attach.alpha, attach.maps) = (alpha, args.map.clone());
    let fit = GateFit::new(base, value, data)
        .penalty(args.penalty)
        .attach(attach)
        .options(with_template(open_options(common), &args.template));
    let bar = bar(common, 0, "reading {bar:30} {pos}/{len}, {left} left");
    let fitted = fit.fit(|progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    })?;
    bar.finish_and_clear();
    let (helps, card) = (fitted.helps(), &fitted.card);
    let written = helps || args.force;
    if written {
        fitted.write()?;
    }
    let mut out = stdout();
    if common.json {
        writeln!(out, "{}", json!({"value": value, "helps": helps, "written": written, "gate": card}))?;
    } else {
        show(&mut out, card)?;
    }
    if !helps {
        let GateLosses { ungated, constant, gated, .. } = card.held_out;
        let weight = card.alpha * card.constant;
        let losses = format!(
            "the gate is not the best on the rows that it was not fitted on: a loss of {gated:.4} with it, {ungated:.4} without, \
             {constant:.4} at weight {weight:.3}"
        );
        if !args.force {
            bail!(
                "{losses}; the card of `{value}` was left as it is; give more demonstrations, raise --penalty, take a weight that is \
                 better (--value {value}:WEIGHT), or write the gate with --force"
            );
        }
        if !common.quiet {
            note(format_args!("note: {losses}"));
        }
    }
    if !common.json {
        writeln!(out, "\nwrote the gate to the card of {value}")?;
    }
    Ok(())
}

/// The losses of a gate on both kinds of rows.
fn show(out: &mut impl Write, card: &GateCard) -> Result<()> {
    let heads = [
        "rows".to_owned(),
        "tokens".to_owned(),
        "alone".to_owned(),
        format!("weight {}", card.alpha),
        format!("weight {:.3}", card.alpha * card.constant),
        "gate".to_owned(),
    ];
    let line = |name: &str, cells: [String; 6]| {
        let cells: Vec<String> = cells.into_iter().map(|cell| format!("{cell:>13}")).collect();
        format!("{name:14}{}", cells.concat())
    };
    writeln!(
        out,
        "Loss in nats per token: of the base alone, with the value, at its best constant weight, with the gate"
    )?;
    writeln!(out, "{}", line("", heads))?;
    for (name, losses) in [("fitted", card.fitted), ("not fitted", card.held_out)] {
        let GateLosses { rows, tokens, alone, ungated, constant, gated } = losses;
        let [alone, ungated, constant, gated] =
            [alone, ungated, constant, gated].map(|loss| format!("{loss:.4}"));
        let cells = [rows.to_string(), tokens.to_string(), alone, ungated, constant, gated];
        writeln!(out, "{}", line(name, cells))?;
    }
    Ok(())
}

fn remove(value: &str, common: &Common) -> Result<()> {
    let removed = remove_gate(value)?;
    if common.json {
        writeln!(stdout(), "{}", json!({"value": value, "removed": removed}))?;
    } else if removed {
        writeln!(stdout(), "took the gate out of the card of {value}")?;
    } else {
        writeln!(stdout(), "the card of {value} has no gate")?;
    }
    Ok(())
}
