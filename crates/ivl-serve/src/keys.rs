//! The API keys that a server accepts.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The digests of the keys that are accepted.
#[derive(Debug, Clone)]
pub(crate) struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Digests keys, so that a comparison takes the same time for every key shown, whatever its length.
    pub(crate) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| digest(key.as_bytes())).collect())
    }

    /// Whether the server requires no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of a key that is accepted. Every key is compared to its end.
    pub(crate) fn find(&self, shown: &[u8]) -> Option<[u8; 32]> {
        let shown = digest(shown);
        let hit = self.0.iter().fold(Choice::from(0), |hit, key| hit | key.ct_eq(&shown));
        bool::from(hit).then_some(shown)
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_given_keys_are_found() {
        let keys = Keys::new(&["first".to_owned(), "second".to_owned()]);
        assert!(keys.find(b"first").is_some() && keys.find(b"second").is_some());
        for wrong in [&b""[..], b"firs", b"first ", b"FIRST", b"firstsecond"] {
            assert!(keys.find(wrong).is_none());
        }
        assert!(Keys::new(&[]).find(b"").is_none());
    }
}
