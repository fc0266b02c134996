//! Links of pages, and the commands of the README.

use std::collections::BTreeSet;
use std::path::Path;

use crate::workspace::{pages, read, repository, shown};

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = prose(&read(&page));
        for link in targets(&text) {
            if !["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                assert!(leads_somewhere(&page, &link), "{} links to {link}", shown(&page));
                links += 1;
            }
        }
    }
    assert!(links >= 30, "{links}");
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.to_owned() } else { page.parent().expect("a folder").join(file) };
    target.exists() && anchor.is_none_or(|anchor| anchors(&read(&target)).contains(anchor))
}

/// A page without its code.
fn prose(page: &str) -> String {
    let mut in_block = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !fence && !in_block
    });
    let text: Vec<&str> = lines.collect();
    text.join("\n").split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// The targets of links: `[text](target)`, `[name]: target` and `href="target"`.
fn targets(text: &str) -> Vec<String> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let named =
        text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    let html = text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let images = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let targets = inline.chain(named).chain(html).chain(images);
    targets.filter_map(|target| target.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_block = false;
    for line in page.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if in_block || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading.trim());
        let repeated = (1..).map(|count| format!("{slug}-{count}"));
        let free = std::iter::once(slug.clone()).chain(repeated).find(|anchor| !found.contains(anchor));
        found.extend(free);
    }
    found
}

/// Small letters, digits, hyphens and underscores; spaces become hyphens, links their text.
fn slug(heading: &str) -> String {
    let mut text = String::new();
    let mut in_target = false;
    let mut previous = ' ';
    for letter in heading.chars() {
        in_target |= letter == '(' && previous == ']';
        if !in_target {
            text.push(letter);
        }
        in_target &= letter != ')';
        previous = letter;
    }
    text.to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[test]
fn anchors_are_those_of_github() {
    let page =
        "# The `[data]` table\n## A, b & c\n```\n# no heading\n```\n## A, b & c\n### See [this](that.md)";
    let expected = ["the-data-table", "a-b--c", "a-b--c-1", "see-this"].map(ToOwned::to_owned);
    assert_eq!(anchors(page), BTreeSet::from(expected));
    assert_eq!(targets("[a](b.md#c \"title\") and\n[d]: e.md"), ["b.md#c", "e.md"]);
}

/// The commands of the README, indented as code.
fn readme_commands() -> Vec<String> {
    let readme = read(&repository().join("README.md"));
    readme
        .lines()
        .filter_map(|line| line.strip_prefix("    cargo "))
        .map(|line| format!("cargo {line}"))
        .collect()
}

#[test]
fn ci_runs_the_commands_of_the_readme() {
    let ci = read(&repository().join(".ci/run"));
    let commands = readme_commands();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        assert!(ci.lines().any(|line| line == command), "`{command}` is not a line of .ci/run");
    }
}
