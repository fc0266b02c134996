//! Digests of what a run depends on.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ivl_models::weight_files;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::Result;

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 over the bytes of all weight files, in the order of their names.
pub(crate) fn hash_weights(checkpoint: &Path) -> Result<String> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 1 << 20]);
    for path in weight_files(checkpoint)? {
        let mut file = File::open(&path).map_err(Error::io("read", &path))?;
        loop {
            match file.read(&mut chunk).map_err(Error::io("read", &path))? {
                0 => break,
                read => hash.update(&chunk[..read]),
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}
