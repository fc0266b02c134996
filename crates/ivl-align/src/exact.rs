//! Same bytes, same token.

use std::collections::HashMap;

use ivl_core::{TokenKind, Vocab};
use rayon::prelude::*;

/// For every base id, the value id with the same bytes and kind; the lowest if there are several.
pub(crate) fn exact(base: &Vocab, value: &Vocab) -> Vec<Option<u32>> {
    let mut ids: HashMap<(&[u8], TokenKind), u32> = HashMap::with_capacity(value.size());
    for (id, token) in value.iter().enumerate() {
        if let Some(token) = token {
            ids.entry((&*token.bytes, token.kind)).or_insert(id as u32);
        }
    }
    let find = |id: u32| base.token(id).and_then(|token| ids.get(&(&*token.bytes, token.kind)).copied());
    (0..base.size() as u32).into_par_iter().map(find).collect()
}
