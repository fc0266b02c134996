//! The names of models in several files: `NAME-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// The name of a file that is one part of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartName<'a> {
    /// The name without numbers and ending.
    pub stem: &'a str,
    /// Counted from 1.
    pub part: u64,
    /// Parts in all.
    pub parts: u64,
}

impl<'a> PartName<'a> {
    /// That of a path, if its file is a part.
    pub(super) fn of(path: &'a Path) -> Option<Self> {
        path.file_name().and_then(|name| name.to_str()).and_then(Self::parse)
    }

    /// The parts of a file's name or path, if it has them.
    pub fn parse(name: &'a str) -> Option<Self> {
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

/// The files of the model that `path` is the whole or a part of.
pub(crate) fn part_files(path: &Path) -> Vec<PathBuf> {
    match PartName::of(path) {
        Some(name) => (1..=name.parts).map(|part| beside(path, &name, part)).collect(),
        None => vec![path.to_owned()],
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
        for other in ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin", "a-0000x-of-00002.gguf", "-of-.gguf"]
        {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
