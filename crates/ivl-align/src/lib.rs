//! Two vocabularies in, a [`VocabMap`] out.
//!
//! A value speaks about tokens by its own ids. To add it to a base of another family, every base id needs the value id
//! that speaks about the same piece of text. Vocabularies are compared as bytes: how a tokenizer writes a space is
//! already undone in [`Vocab`].
//!
//! # Example: align two vocabularies
//!
//! ```
//! use ivl_align::{Method, align};
//! use ivl_core::{Token, Vocab};
//!
//! let tokens = |tokens: &[&str]| Vocab::new(tokens.iter().map(|t| Some(Token::text(t.as_bytes()))).collect());
//! let base = tokens(&[" the", "a", "zebra"]);
//! let value = tokens(&["a", " the"]);
//! let alignment = align(&base, &value, Method::Exact)?;
//! assert_eq!(alignment.map.value_id(0), Some(1));
//! assert_eq!(alignment.coverage.unmapped, 1);
//! # Ok::<(), ivl_core::Error>(())
//! ```

mod exact;

use ivl_core::{Error, Vocab, VocabMap};
use serde::{Deserialize, Serialize};

/// How the value id of a base id is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Same bytes and kind; anything else gets no value.
    Exact,
}

/// A map and how much of the base it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// From base ids to value ids.
    pub map: VocabMap,
    /// How much it covers.
    pub coverage: Coverage,
}

/// Base ids by how they were matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Ids with the same bytes on both sides.
    pub exact: usize,
    /// Ids that get no value.
    pub unmapped: usize,
    /// Some of those, as text.
    pub examples: Vec<String>,
}

/// Examples that a coverage report shows.
const EXAMPLES: usize = 10;

/// Aligns two vocabularies: for every base id, the value id whose logit is added to it.
///
/// # Errors
/// None for [`Method::Exact`]; the signature is that of methods which can fail.
pub fn align(base: &Vocab, value: &Vocab, method: Method) -> Result<Alignment, Error> {
    let ids = match method {
        Method::Exact => exact::exact(base, value),
    };
    let known = |id: &u32| base.token(*id).is_some();
    let unmapped: Vec<u32> =
        (0..base.size() as u32).filter(known).filter(|&id| ids[id as usize].is_none()).collect();
    let text = |&id: &u32| {
        base.token(id).map_or_else(String::new, |t| String::from_utf8_lossy(&t.bytes).into_owned())
    };
    let coverage = Coverage {
        exact: ids.iter().flatten().count(),
        unmapped: unmapped.len(),
        examples: unmapped.iter().take(EXAMPLES).map(text).collect(),
    };
    Ok(Alignment { map: VocabMap::new(ids, base, value)?, coverage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::Token;
    use proptest::prelude::*;

    fn vocab(tokens: &[Vec<u8>]) -> Vocab {
        Vocab::new(tokens.iter().map(|bytes| Some(Token::text(bytes.clone()))).collect())
    }

    proptest! {
        #[test]
        fn equal_vocabularies_align_to_the_identity(count in 1usize..200, padding in 0usize..9) {
            let tokens: Vec<Vec<u8>> = (0..count as u32).map(|id| id.to_be_bytes().to_vec()).collect();
            let base = vocab(&tokens).padded_to(count + padding);
            let alignment = align(&base, &vocab(&tokens), Method::Exact).expect("aligns");
            prop_assert_eq!(&alignment.coverage, &Coverage { exact: count, unmapped: 0, examples: vec![] });
            prop_assert!((0..count as u32).all(|id| alignment.map.value_id(id) == Some(id)));
            prop_assert_eq!(alignment.map.without_value().len(), padding);
        }

        #[test]
        fn a_mapped_id_has_the_same_bytes(
            base in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..40),
            value in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..40),
        ) {
            let (base, value) = (vocab(&base), vocab(&value));
            let alignment = align(&base, &value, Method::Exact).expect("aligns");
            for id in 0..base.size() as u32 {
                match alignment.map.value_id(id) {
                    Some(other) => prop_assert_eq!(value.token(other), base.token(id)),
                    None => prop_assert!(value.iter().all(|token| token != base.token(id))),
                }
            }
        }
    }

    #[test]
    fn a_control_token_is_not_its_own_text() {
        let base = Vocab::new(vec![Some(Token::control("<s>"))]);
        let value = Vocab::new(vec![Some(Token::text(*b"<s>")), Some(Token::control("<s>"))]);
        assert_eq!(align(&base, &value, Method::Exact).expect("aligns").map.value_id(0), Some(1));
    }
}
