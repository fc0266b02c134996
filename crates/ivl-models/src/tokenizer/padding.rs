//! Names of slots without a token.

/// Whether a token only fills a slot: converters to GGUF name the ids between the tokens and the number of logits `[PAD32000]` and
/// so on, and leave some tokens without text. Directories that were converted from such files keep these names.
pub(super) fn is_padding(token: &str) -> bool {
    let number = token.strip_prefix("[PAD").and_then(|rest| rest.strip_suffix(']'));
    token.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_padding_is_padding() {
        assert!(is_padding("[PAD151665]") && is_padding(""));
        assert!(
            !is_padding("[PAD]") && !is_padding("[PAD1") && !is_padding("[PADx]") && !is_padding("<pad>")
        );
    }
}
