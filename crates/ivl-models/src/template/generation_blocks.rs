//! The `{% generation %}` blocks of transformers, which mark the assistant's words and which plain Jinja does not know.

use minijinja::{Environment, State};

/// The filter that generation blocks become, and the variable with the letters that it puts around them.
const FILTER: &str = "ivl_generation";
pub(super) const MARKS: &str = "ivl_generation_marks";

/// Adds the filter to an environment.
pub(super) fn add_generation_filter(environment: &mut Environment<'static>) {
    environment.add_filter(FILTER, mark_generation);
}

fn mark_generation(state: &State, text: String) -> String {
    let mark = |index: usize| state.lookup(MARKS).and_then(|marks| marks.get_item_by_index(index).ok());
    match (mark(0), mark(1)) {
        (Some(open), Some(close)) => format!("{open}{text}{close}"),
        _ => text,
    }
}

/// Whether a source has such blocks.
pub(super) fn has_generation_blocks(source: &str) -> bool {
    with_generation_filter(source) != *source
}

/// The source with filter blocks in place of generation blocks, with the same control of whitespace.
pub(super) fn with_generation_filter(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // Behind the opening: `{%}` opens a tag and closes none.
        let Some(len) = rest[start + 2..].find("%}").map(|len| len + 2) else { break };
        let tag = &rest[start + 2..start + len];
        let (open, tag) = split_control(tag);
        let close = if tag.ends_with('-') { "-" } else { "" };
        let word = tag.trim_end_matches(['-', '+']).trim();
        let replaced = match word {
            "generation" => Some(format!("filter {FILTER}")),
            "endgeneration" => Some("endfilter".to_owned()),
            _ => None,
        };
        out.push_str(&rest[..start]);
        match replaced {
            Some(word) => out.extend(["{%", open, " ", &word, " ", close, "%}"]),
            None => out.push_str(&rest[start..start + len + 2]),
        }
        rest = &rest[start + len + 2..];
    }
    out + rest
}

fn split_control(tag: &str) -> (&str, &str) {
    let len = usize::from(tag.starts_with(['-', '+']));
    tag.split_at(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_filters() {
        let source = "a\n{%- generation -%}\n b {% if x %}c{% endif %}{% endgeneration %}\nd";
        assert_eq!(
            with_generation_filter(source),
            "a\n{%- filter ivl_generation -%}\n b {% if x %}c{% endif %}{% endfilter %}\nd"
        );
    }
}
