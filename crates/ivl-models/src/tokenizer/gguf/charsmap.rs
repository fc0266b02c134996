//! SentencePiece's table of normalization, checked before a library follows its offsets.
//!
//! The layout: the length of a trie in bytes, the trie, texts that end with a zero byte. The trie is a double array of 32-bit units:
//! from a unit at `i`, the child for byte `b` is at `i ^ offset ^ b`. Source: [Darts-clone](https://github.com/s-yata/darts-clone).

use super::error::GgufTokenizerError;

/// Refuses a table in which a step could lead outside the trie, or a result outside the texts.
pub(super) fn check_charsmap(bytes: &[u8]) -> Result<(), GgufTokenizerError> {
    let broken = |reason| Err(GgufTokenizerError::Charsmap { reason });
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return broken("it is shorter than its length");
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > rest.len() || !length.is_multiple_of(4) || length == 0 {
        return broken("its trie does not fit");
    }
    let (trie, texts) = rest.split_at(length);
    let Ok(texts) = std::str::from_utf8(texts) else { return broken("its texts are not UTF-8") };
    let units: Vec<usize> = trie
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]) as usize)
        .collect();
    for (at, unit) in units.iter().enumerate() {
        // A unit with bit 31 set is a result. Another leads on, by an offset that is shifted where bit 9 is set, and where bit 8 is
        // set the unit there is a result.
        if unit >> 31 == 1 {
            continue;
        }
        let next = at ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6));
        if next | 0xff >= units.len() {
            return broken("a step leads outside its trie");
        }
        if (unit >> 8) & 1 == 1 && !texts.is_char_boundary(units[next] & ((1 << 31) - 1)) {
            return broken("a result is outside its texts");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(units: &[u32], texts: &[u8]) -> Vec<u8> {
        let length = (units.len() * 4) as u32;
        let units = units.iter().flat_map(|unit| unit.to_le_bytes());
        length.to_le_bytes().into_iter().chain(units).chain(texts.iter().copied()).collect()
    }

    #[test]
    fn steps_and_results_stay_inside() {
        let mut units = [0u32; 256];
        assert!(check_charsmap(&table(&units, b"a\0")).is_ok());
        units[3] = 1 << 8 | 1 << 10;
        units[2] = 1 << 31 | 1;
        assert!(check_charsmap(&table(&units, b"a\0")).is_ok());
        units[2] = 1 << 31 | 9;
        assert!(check_charsmap(&table(&units, b"a\0")).is_err());
        for (units, texts) in [
            (vec![0; 255], &b"a\0"[..]),
            (vec![9 | 1 << 8; 256], b"a\0"),
            (vec![1 << 18; 256], b"a\0"),
            (vec![0; 256], b"\xff"),
            (vec![], b""),
        ] {
            assert!(check_charsmap(&table(&units, texts)).is_err(), "{} units", units.len());
        }
        assert!(check_charsmap(&[1, 0]).is_err() && check_charsmap(&[255; 8]).is_err());
    }
}
