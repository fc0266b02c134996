//! No circles between the modules of a crate.

use std::collections::{BTreeSet, VecDeque};

use crate::modules::Modules;
use crate::workspace::source_folders;

/// Sets of files that reach each other, in the order of their names.
fn circles(uses: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..uses.len()).map(|from| reach(uses, from)).collect();
    let mut found: Vec<BTreeSet<usize>> = (0..uses.len())
        .map(|file| reached[file].iter().copied().filter(|&other| reached[other].contains(&file)).collect())
        .filter(|circle: &BTreeSet<usize>| circle.len() > 1)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The files that a file uses, and those that these use, and so on.
fn reach(uses: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut waiting = VecDeque::from([from]);
    while let Some(file) = waiting.pop_front() {
        waiting.extend(uses[file].iter().copied().filter(|&used| reached.insert(used)));
    }
    reached
}

/// Who uses whom within a circle, one a line.
fn described(modules: &Modules, uses: &[BTreeSet<usize>], circle: &BTreeSet<usize>) -> String {
    let mut lines = String::new();
    for &file in circle {
        for used in uses[file].intersection(circle) {
            lines += &format!("    {} uses {}\n", modules.name(file), modules.name(*used));
        }
    }
    lines
}

#[test]
fn modules_use_each_other_in_one_direction() {
    let mut complaints = String::new();
    for (name, src) in source_folders() {
        let roots = ["lib.rs", "main.rs"].map(|root| src.join(root));
        let root = roots.iter().find(|root| root.exists()).expect("a root");
        let modules = Modules::read(root);
        let uses = modules.uses();
        for circle in circles(&uses) {
            complaints += &format!("{name} has a circle:\n{}", described(&modules, &uses, &circle));
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn circles_are_found_through_groups_and_re_exports() {
    let dir = tempfile::tempdir().expect("a directory");
    let found = |files: &[(&str, &str)]| -> Vec<BTreeSet<String>> {
        for (file, text) in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writes");
            std::fs::write(path, text).expect("writes");
        }
        let modules = Modules::read(&dir.path().join("lib.rs"));
        let circles = circles(&modules.uses());
        circles.iter().map(|circle| circle.iter().map(|&file| modules.name(file)).collect()).collect()
    };
    let circle = |files: &[&str]| vec![files.iter().map(|&file| file.to_owned()).collect::<BTreeSet<_>>()];
    let root = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::{B, b as renamed};");
    // A facade that only re-exports uses nothing.
    let one_way = [root, ("a.rs", "pub struct A(crate::B);"), ("b.rs", "pub struct B; pub fn b() {}")];
    assert!(found(&one_way).is_empty());
    let groups =
        [root, ("a.rs", "use crate::{B, renamed}; pub struct A;"), ("b.rs", "use super::A; pub struct B;")];
    assert_eq!(found(&groups), circle(&["a.rs", "b.rs"]));
    let macros = [
        root,
        ("a.rs", "pub fn a() { print!(\"{}\", super::b::b()) }"),
        ("b.rs", "pub fn b() { crate::a::a() }"),
    ];
    assert_eq!(found(&macros), circle(&["a.rs", "b.rs"]));
    // Uses in tests do not count, nor do modules within braces of the same file.
    let tests = "#[cfg(test)] mod tests { use crate::A; } mod inner { use super::B; } pub struct B;";
    assert!(found(&[root, ("a.rs", "use crate::B; pub struct A;"), ("b.rs", tests)]).is_empty());
    // A variable that is called like a module.
    let variable =
        [("lib.rs", "mod a; pub struct P; fn f(a: u8) -> u8 { a }"), ("a.rs", "struct A(super::P);")];
    assert!(found(&variable).is_empty());
    // A parent that works with what its child defines, and the other way round.
    let parent =
        [("lib.rs", "mod a; use a::A; pub struct P(A);"), ("a.rs", "pub struct A(Option<Box<super::P>>);")];
    assert_eq!(found(&parent), circle(&["a.rs", "lib.rs"]));
}
