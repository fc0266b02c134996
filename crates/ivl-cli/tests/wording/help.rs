//! `-h` and `--help` of every verb.

use crate::VERBS;
use crate::run::command;

/// Standard output of `ivl ARGS`, wrapped at 100 columns.
fn printed(args: &[&str]) -> String {
    let output = command(args).env("COLUMNS", "100").output().expect("starts");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_verb() {
    for verb in VERBS {
        let long: Vec<&str> = verb.iter().copied().chain(["--help"]).collect();
        let short: Vec<&str> = verb.iter().copied().chain(["-h"]).collect();
        let long = printed(&long);
        assert!(long.contains("Example:\n  ivl "), "{verb:?} has no example");
        let same = long == printed(&short);
        insta::assert_snapshot!(
            format!("help-{}", verb.join("-")),
            format!("-h is --help: {same}\n\n{long}")
        );
    }
}

#[test]
fn the_command_itself() {
    let help = printed(&["--help"]);
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {}", verb[0])), "{verb:?} is not in the list of commands");
    }
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   ")).count();
    let mut verbs = VERBS.map(|verb| verb[0]).to_vec();
    verbs.dedup();
    assert_eq!(listed, verbs.len() + 1, "`help` and the verbs: {help}");
    insta::assert_snapshot!("help", help);
    insta::assert_snapshot!("help-data", printed(&["data", "--help"]));
}
