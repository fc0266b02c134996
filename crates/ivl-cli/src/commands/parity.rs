//! `ivl parity`: whether a device computes what the CPU computes.

use std::io::Write;

use anyhow::{Result, bail};
use ivl::parity::{Parity, compare};

use crate::args::{self, Common, Dtype};
use crate::models::open_options;
use crate::output::stdout;

pub fn run(args: &args::Parity, common: &Common) -> Result<()> {
    let placement = open_options(common).placement()?;
    if let Dtype::Int8 | Dtype::Int4 = common.dtype {
        let name = placement.dtype_name();
        bail!("--dtype {name} is no type of a device's tensors: expected f32, f16 or bf16")
    }
    let weights = placement.for_training().dtype_name();
    let mut out = stdout();
    if !common.json {
        writeln!(out, "{weights} on {}, against f32 on the CPU", common.device)?;
        writeln!(out, "{:28} {:>12} {:>10} {:>8}", "", "difference", "limit", "tokens")?;
    }
    let mut differ = Vec::new();
    for name in &args.models {
        let parity = compare(name, &placement)?;
        if common.json {
            let mut line = parity.json();
            line["device"] = common.device.as_str().into();
            line["dtype"] = weights.into();
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", as_line(&parity))?;
        }
        if !parity.passed() {
            differ.push(parity.model);
        }
    }
    match differ.as_slice() {
        [] => Ok(()),
        _ => bail!(
            "`{}` in {weights} differs from the CPU on {} of {} models: {}",
            common.device,
            differ.len(),
            args.models.len(),
            differ.join(", ")
        ),
    }
}

fn as_line(parity: &Parity) -> String {
    let name = std::path::Path::new(&parity.model).file_name().map(|name| name.to_string_lossy());
    format!(
        "{:28} {:>12.2e} {:>10.2e} {:>8}{}",
        name.as_deref().unwrap_or(&parity.model),
        parity.difference,
        parity.limit,
        format!("{}/{}", parity.equal_tokens, parity.tokens),
        if parity.passed() { "" } else { "  differs" },
    )
}
