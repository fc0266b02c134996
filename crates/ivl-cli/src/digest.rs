//! Digests of what a run depends on.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 over the bytes of all weight files, in the order of their names.
pub fn hash_weights(dir: &Path) -> Result<String> {
    let context = || format!("cannot read `{}`", dir.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(context)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .with_context(context)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    for path in files {
        let context = || format!("cannot read `{}`", path.display());
        let mut file = File::open(&path).with_context(context)?;
        loop {
            match file.read(&mut piece).with_context(context)? {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}
