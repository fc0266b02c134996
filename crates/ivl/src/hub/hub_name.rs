//! Names on the hub.

/// Models that the hub has kept under a name without an organisation.
const LEGACY_NAMES: [&str; 5] = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"];

/// `org/name[@revision][:gguf]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HubName<'a> {
    /// Empty for a legacy name.
    pub(super) owner: &'a str,
    pub(super) name: &'a str,
    pub(super) revision: &'a str,
    /// A quantisation, or the name of a file.
    pub(super) gguf: Option<&'a str>,
}

impl<'a> HubName<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (text, gguf) = match text.split_once(':') {
            Some((text, gguf)) => (text, Some(gguf)),
            None => (text, None),
        };
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        if LEGACY_NAMES.contains(&id) && gguf.is_none() {
            return Some(Self { owner: "", name: id, revision, gguf });
        }
        let (owner, name) = id.split_once('/')?;
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let path = |text: &str| text.split('/').all(plain);
        let fits = plain(owner) && plain(name) && path(revision) && gguf.is_none_or(path);
        fits.then_some(Self { owner, name, revision, gguf })
    }

    /// `org/name`.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name).trim_start_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_are_recognised_and_paths_are_not() {
        let parse = |text| HubName::parse(text).map(|name| (name.owner, name.name, name.revision, name.gguf));
        let llama = ("meta-llama", "Llama-3.2-1B", "refs/pr/1", None);
        assert_eq!(parse("meta-llama/Llama-3.2-1B@refs/pr/1"), Some(llama));
        assert_eq!(parse("org/name"), Some(("org", "name", "main", None)));
        assert_eq!(parse("gpt2"), Some(("", "gpt2", "main", None)));
        assert_eq!(parse("org/name:Q4_K_M"), Some(("org", "name", "main", Some("Q4_K_M"))));
        assert_eq!(parse("org/name@v1:a/b.gguf"), Some(("org", "name", "v1", Some("a/b.gguf"))));
        for path in [
            "gpt22",
            "/etc/passwd",
            "../x",
            "a/b/c",
            "a/..",
            "a/b@../c",
            "./a",
            "a/",
            "a b/c",
            "a/b:",
            "a/b:../c",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
