//! Hints for errors: libraries know no command line, so the options that help are named here.

use ivl::Error;

/// The option that helps against an error, if one does.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let hint = find(cause).and_then(of_ivl);
        let hint = hint.or_else(|| find(cause).and_then(of_core));
        let hint = hint.or_else(|| find(cause).and_then(of_server));
        hint.or_else(|| find(cause).and_then(of_training))
    })
}

/// A cause as an error of a kind. A boxed error is a type of its own to `downcast_ref`.
fn find<'a, E: std::error::Error + 'static>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    cause.downcast_ref::<E>().or_else(|| cause.downcast_ref::<Box<E>>().map(|error| &**error))
}

fn of_ivl(error: &Error) -> Option<String> {
    let hint = match error {
        Error::UnfinishedRun { .. } => "finish it with `ivl train CONFIG.toml --resume`",
        Error::QuantizedValue { .. } => "`ivl convert MODEL --to hf --out DIR` writes the copy",
        Error::GateWithoutValue { .. } => "--gate needs at least one --value",
        Error::LearnedGate { .. } => "`ivl gate --value VALUE --remove` takes a gate out of a card",
        Error::AdapterDifference { .. } => {
            "`--value TUNED:1 --value SMALL:-1` adds any tuned model minus the one that it was made from, in two passes"
        }
        Error::NeedsOutput { .. } => "name one with --output DIR",
        Error::UnsupportedKvCache { .. } => "choose with --kv-cache-dtype and --device",
        Error::UnknownDevice { .. } | Error::SeveralDevices { .. } => "--device names it",
        Error::DeviceList { .. } | Error::UnknownPlace { .. } => "--device and --place name them",
        Error::EmptyPrompt => "give some text with --prompt, --prompt-file or --messages",
        Error::NoChatTemplate { .. } => {
            "add a template, or do without: `--prompt`, `--text` and tasks need none, and `ivl chat` has --plain"
        }
        Error::MethodNeedsCorpus { method } => {
            return Some(format!("`ivl align --method {method} --corpus FILE` makes a map file for --map"));
        }
        Error::Core(error) => return of_core(error),
        Error::Train(error) => return of_training(error),
        Error::Serve(error) => return of_server(error),
        Error::Eval(error) => return of_evaluation(error),
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_core(error: &ivl::core::Error) -> Option<String> {
    let hint = match error {
        ivl::core::Error::VocabMismatch { .. } => {
            "map the vocabularies with --map hybrid, or with a file made by `ivl align --from BASE --to VALUE`"
        }
        ivl::core::Error::ForeignMap { .. } => "make a new map with `ivl align`",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_training(error: &ivl::train::Error) -> Option<String> {
    let hint = match error {
        ivl::train::Error::NoCheckpoint { .. } => "start without --resume",
        ivl::train::Error::OutputExists { .. } => "continue with --resume, or add epochs with --extend",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_evaluation(error: &ivl::eval::Error) -> Option<String> {
    let hint = match error {
        ivl::eval::Error::FewShots { .. } => "lower --num-fewshot, or `num_fewshot` of the task",
        ivl::eval::Error::OtherRun { .. } | ivl::eval::Error::BrokenLog { .. } => {
            "choose another directory with --output"
        }
        ivl::eval::Error::Core(error) => return of_core(error),
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_server(error: &ivl::serve::Error) -> Option<String> {
    let hint = match error {
        ivl::serve::Error::Open { .. } => "give --api-key, or --open to allow requests without a key",
        ivl::serve::Error::Listen { .. } => "choose another port with --port",
        ivl::serve::Error::SameId { .. } => "name values with --value NAME=VALUE",
        _ => return None,
    };
    Some(hint.to_owned())
}
