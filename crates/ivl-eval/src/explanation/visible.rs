//! Tokens so that nothing in them is hidden.

use ivl_core::Vocab;

/// A piece of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// Letters that show as they are.
    Text(String),
    /// The sign for what would not show: a control character, a character that turns or hides others, a byte that is no
    /// character by itself, the name of a control token.
    Sign(String),
    /// A line break, after its sign.
    Break,
}

/// A token, piece by piece. Bytes of a character that is spread over several tokens are written `\xNN`.
pub fn visible(vocab: &Vocab, id: u32) -> Vec<Visible> {
    let Some(token) = vocab.token(id) else { return vec![Visible::Sign(format!("[{id}]"))] };
    let mut pieces = Vec::new();
    for chunk in token.bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => pieces.extend([Visible::Sign("⏎".to_owned()), Visible::Break]),
                '\t' => pieces.push(Visible::Sign("⇥".to_owned())),
                hidden if is_hidden(hidden) => {
                    pieces.push(Visible::Sign(hidden.escape_unicode().to_string()));
                }
                shown => push(&mut pieces, token.is_control(), shown),
            }
        }
        for byte in chunk.invalid() {
            pieces.push(Visible::Sign(format!("\\x{byte:02x}")));
        }
    }
    pieces
}

/// A token on one line; one of nothing but spaces has a sign for each.
pub fn visible_line(vocab: &Vocab, id: u32) -> String {
    let piece = |piece| match piece {
        Visible::Text(text) | Visible::Sign(text) => text,
        Visible::Break => String::new(),
    };
    let line: String = visible(vocab, id).into_iter().map(piece).collect();
    if line.trim().is_empty() { line.replace(' ', "␣") } else { line }
}

fn push(pieces: &mut Vec<Visible>, sign: bool, character: char) {
    match (pieces.last_mut(), sign) {
        (Some(Visible::Text(text)), false) | (Some(Visible::Sign(text)), true) => text.push(character),
        (_, false) => pieces.push(Visible::Text(character.to_string())),
        (_, true) => pieces.push(Visible::Sign(character.to_string())),
    }
}

/// Control characters, and those that show nothing or change how their neighbours show.
fn is_hidden(character: char) -> bool {
    let invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    invisible || character.is_control()
}

#[cfg(test)]
mod tests {
    use ivl_core::vocab::Token;

    use super::*;

    #[test]
    fn what_would_not_show_has_a_sign() {
        let tokens = [
            Token::text("é\n\u{202e}b".as_bytes()),
            Token::text([b'a', 0xe2, 0x98]),
            Token::control("<s>"),
            Token::text([0x1b]),
            Token::text(*b"  "),
        ];
        let vocab = Vocab::new(tokens.into_iter().map(Some).collect()).padded_to(6);
        let lines: Vec<String> = (0..6).map(|id| visible_line(&vocab, id)).collect();
        assert_eq!(lines, ["é⏎\\u{202e}b", "a\\xe2\\x98", "<s>", "\\u{1b}", "␣␣", "[5]"]);
        assert_eq!(visible(&vocab, 2), [Visible::Sign("<s>".to_owned())]);
        assert_eq!(visible(&vocab, 0)[1..3], [Visible::Sign("⏎".to_owned()), Visible::Break]);
    }
}
