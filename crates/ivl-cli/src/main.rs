//! The command `ivl`: arguments, calls of the library, and printing.

#![expect(
    unreachable_pub,
    reason = "nothing outside sees a binary's items; `pub` marks what a file offers the others"
)]

mod allocator;
mod args;
mod color;
mod commands;
mod decoding;
mod hints;
mod models;
mod notes;
mod output;
mod progress;
mod prompt_files;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, DataCommand};
use crate::notes::note;

fn main() -> ExitCode {
    allocator::keep_freed_pages();
    let args = Args::parse();
    let done = match args.command {
        Command::Train(train) => commands::train::run(&train, &args.common),
        Command::Data(data) => match data.command {
            DataCommand::Preview(preview) => commands::data::preview(&preview, &args.common),
            DataCommand::Export(export) => commands::export::export(&export, &args.common),
        },
        Command::Distill(distill) => commands::distill::run(&distill, &args.common),
        Command::Generate(generate) => commands::generate::run(&generate, &args.common),
        Command::Chat(chat) => commands::chat::run(&chat, &args.common),
        Command::Explain(explain) => commands::explain::run(&explain, &args.common),
        Command::Score(score) => commands::score::run(&score, &args.common),
        Command::Gate(gate) => commands::gate::run(&gate, &args.common),
        Command::Align(align) => commands::align::run(&align, &args.common),
        Command::Eval(eval) => commands::eval::run(&eval, &args.common),
        Command::Bench(bench) => commands::bench::run(&bench, &args.common),
        Command::Parity(parity) => commands::parity::run(&parity, &args.common),
        Command::Convert(convert) => commands::convert::run(&convert, &args.common),
        Command::Inspect(inspect) => commands::inspect::run(&inspect, &args.common),
        Command::Serve(serve) => commands::serve::run(&serve, &args.common),
        Command::Demo(demo) => commands::demo::run(&demo, &args.common),
        Command::Transfer(transfer) => commands::transfer::run(&transfer, &args.common),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("error: {error:#}"));
            if let Some(hint) = hints::hint(&error) {
                note(format_args!("hint: {hint}"));
            }
            ExitCode::FAILURE
        }
    }
}
