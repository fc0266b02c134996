//! Which GGUF file of a repository is meant.

use std::path::Path;

use ivl_models::gguf::{Gguf, PartName};

/// The models of a repository among its paths, each as its first part.
fn models(paths: &[String]) -> Vec<&str> {
    let mut models: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| Gguf::is_model_name(Path::new(path))).collect();
    models.sort_unstable();
    models
}

/// The paths of one model and its parts, or all that could have been meant.
pub(super) fn choose(paths: &[String], wanted: Option<&str>) -> Result<Vec<String>, Vec<String>> {
    let models = models(paths);
    let fitting: Vec<&str> = match wanted {
        None => models.clone(),
        Some(wanted) => models.iter().copied().filter(|path| fits(path, wanted)).collect(),
    };
    match fitting.as_slice() {
        [one] => Ok(with_parts(one, paths)),
        [] => Err(models.into_iter().map(str::to_owned).collect()),
        several => Err(several.iter().map(|&path| path.to_owned()).collect()),
    }
}

/// Whether a path is the file `wanted`, or ends in the quantisation `wanted`, in any case.
fn fits(path: &str, wanted: &str) -> bool {
    let stem = PartName::parse(path).map_or(&path[..path.len() - ".gguf".len()], |name| name.stem);
    let (path, stem, wanted) = (path.to_lowercase(), stem.to_lowercase(), wanted.to_lowercase());
    if path == wanted || path.ends_with(&format!("/{wanted}")) {
        return true;
    }
    let before = stem.strip_suffix(&wanted);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '_', '/']))
}

fn with_parts(path: &str, paths: &[String]) -> Vec<String> {
    let Some(name) = PartName::parse(path) else { return vec![path.to_owned()] };
    let same = |other: &&String| PartName::parse(other).is_some_and(|other| other.stem == name.stem);
    let mut parts: Vec<String> = paths.iter().filter(same).cloned().collect();
    parts.sort();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantisation_names_one_file_or_the_error_lists_them() {
        let paths: Vec<String> = [
            "README.md",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-F16.gguf",
            "BF16/m-BF16-00001-of-00002.gguf",
            "BF16/m-BF16-00002-of-00002.gguf",
            "m-UD-Q4_K_XL.gguf",
            "m-Q4_K_XL.gguf",
        ]
        .map(str::to_owned)
        .to_vec();
        let chosen = |wanted| choose(&paths, Some(wanted)).expect("one");
        assert_eq!(chosen("q4_k_m"), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen("m-Q8_0.gguf"), ["m-Q8_0.gguf"]);
        let parts = ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"];
        assert_eq!(chosen("BF16"), parts);
        assert_eq!(chosen("UD-Q4_K_XL"), ["m-UD-Q4_K_XL.gguf"]);
        assert_eq!(
            choose(&paths, Some("Q4_K_XL")).expect_err("two"),
            ["m-Q4_K_XL.gguf", "m-UD-Q4_K_XL.gguf"]
        );
        assert_eq!(choose(&paths, Some("Q5")).expect_err("none").len(), 5);
        assert_eq!(choose(&paths, None).expect_err("several").len(), 5);
        assert_eq!(choose(&paths[..2], None).expect("the only one"), ["m-Q4_K_M.gguf"]);
    }
}
