//! The names of models in several files: `NAME-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// A file name of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartName<'a> {
    stem: &'a str,
    /// Counted from 1.
    pub(super) part: u64,
    pub(super) parts: u64,
}

impl<'a> PartName<'a> {
    /// The parts of a file name, if it has them.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (rest, parts) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { stem, part: number(part)?, parts: number(parts)? })
    }

    /// The file name of a part of the same model.
    pub(super) fn name_of(&self, part: u64) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.stem, self.parts)
    }
}

/// The file of another part, beside `path`.
pub(super) fn beside(path: &Path, name: &PartName<'_>, part: u64) -> PathBuf {
    path.with_file_name(name.name_of(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_recognised() {
        let name = PartName::parse("a-b-00002-of-00010.gguf").expect("a part");
        assert_eq!((name.part, name.parts), (2, 10));
        assert_eq!(name.name_of(1), "a-b-00001-of-00010.gguf");
        for other in ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin", "a-0000x-of-00002.gguf", "-of-.gguf"] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
