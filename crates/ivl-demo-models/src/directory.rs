//! A directory that is there whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes files into a new directory beside `dir` and renames it to `dir`. If `dir` holds the same files already it is
/// kept; other contents are replaced.
pub(crate) fn write_directory(dir: &Path, files: &[(&str, &[u8])]) -> io::Result<PathBuf> {
    if holds(dir, files) {
        return Ok(dir.to_owned());
    }
    let beside = |what: &str| {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}-{}", std::process::id()));
        dir.with_file_name(name)
    };
    let (partial, old) = (beside("partial"), beside("old"));
    let written = write_all(&partial, files).and_then(|()| {
        if dir.exists() {
            fs::rename(dir, &old)?;
        }
        fs::rename(&partial, dir)
    });
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&partial);
        // Another process may have been as quick as this one.
        return if holds(dir, files) { Ok(dir.to_owned()) } else { Err(error) };
    }
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    Ok(dir.to_owned())
}

fn holds(dir: &Path, files: &[(&str, &[u8])]) -> bool {
    files.iter().all(|(name, bytes)| {
        let path = dir.join(name);
        fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|found| found == *bytes)
    })
}

fn write_all(dir: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_kept_if_it_is_the_same_and_replaced_if_not() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("model");
        let files: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
        write_directory(&dir, &files).expect("writes");
        let before = fs::metadata(dir.join("a")).expect("there").modified().expect("a time");
        write_directory(&dir, &files).expect("writes");
        assert_eq!(fs::metadata(dir.join("a")).expect("there").modified().expect("a time"), before);

        fs::write(dir.join("b"), b"2").expect("writes");
        write_directory(&dir, &files).expect("writes");
        assert_eq!(fs::read(dir.join("b")).expect("reads"), b"two");
        let left: Vec<_> = fs::read_dir(root.path()).expect("reads").collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
