//! SentencePiece models: `tokenizer.model`, a message of protocol buffers with pieces, scores and settings.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::tokenizer::error::{MOST_TOKENS, TokenizerError, read as read_file};

/// Bytes of the longest piece, whose splits are searched for merges.
const LONGEST_PIECE: usize = 1 << 10;

/// `model_type` of models that merge letters.
const MERGES: u64 = 2;

/// The kinds of pieces that are found whole in a text.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The tokenizer of a model that merges letters, without any other stage; nothing for a model of another type.
///
/// # Errors
/// [`TokenizerError::File`] and [`TokenizerError::Invalid`].
pub(super) fn read(path: &Path) -> Result<Option<tokenizers::Tokenizer>, TokenizerError> {
    let bytes = read_file(path)?;
    let invalid = |source: Box<dyn std::error::Error + Send + Sync>| TokenizerError::Invalid {
        path: path.to_owned(),
        source,
    };
    let Some(model) = Model::read(&bytes).map_err(|reason| invalid(reason.into()))? else { return Ok(None) };
    let ids: HashMap<&str, u32> =
        model.pieces.iter().zip(0..).map(|((piece, _), id)| (piece.as_str(), id)).collect();
    let merges = merges_in_order(&ids);
    let vocab: Vocab = ids.iter().map(|(piece, id)| ((*piece).to_owned(), *id)).collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).byte_fallback(true).fuse_unk(true).build();
    let mut inner = tokenizers::Tokenizer::new(bpe.map_err(invalid)?);
    let added = model.pieces.iter().filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    let added =
        added.map(|(piece, kind)| AddedToken::from(piece.clone(), *kind == CONTROL).normalized(false));
    inner.add_tokens(added.collect::<Vec<_>>()).map_err(invalid)?;
    Ok(Some(inner))
}

/// Every split of a piece into two pieces, by the id of the whole; those with the shorter left part go first. Source:
/// `generate_merges` of transformers.
fn merges_in_order(ids: &HashMap<&str, u32>) -> Vec<(String, String)> {
    let mut pieces: Vec<(u32, &str)> = ids.iter().map(|(piece, id)| (*id, *piece)).collect();
    pieces.sort_unstable();
    let splits = pieces
        .into_iter()
        .flat_map(|(_, piece)| piece.char_indices().skip(1).map(move |(at, _)| piece.split_at(at)));
    let known = splits.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right));
    known.map(|(left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// The parts of a model that are read.
struct Model {
    /// Text and kind of every piece.
    pieces: Vec<(String, u64)>,
}

impl Model {
    /// Reads a model; nothing for one that does not merge letters.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let (mut pieces, mut kind) = (Vec::new(), 1);
        let mut message = Message(bytes);
        while let Some((field, value)) = message.next_field()? {
            match (field, value) {
                (1, Wire::Bytes(piece)) => pieces.push(read_piece(piece)?),
                (2, Wire::Bytes(settings)) => kind = read_kind(settings)?.unwrap_or(kind),
                _ => {}
            }
            if pieces.len() > MOST_TOKENS as usize {
                return Err(format!("it has more than {MOST_TOKENS} pieces"));
            }
        }
        if pieces.is_empty() {
            return Err("it has no pieces: it is no SentencePiece model".to_owned());
        }
        Ok((kind == MERGES).then_some(Self { pieces }))
    }
}

/// Text and kind of a piece; one that names no kind is text.
fn read_piece(bytes: &[u8]) -> Result<(String, u64), String> {
    let (mut text, mut kind) = (String::new(), 1);
    let mut message = Message(bytes);
    while let Some((field, value)) = message.next_field()? {
        match (field, value) {
            (1, Wire::Bytes(piece)) if piece.len() <= LONGEST_PIECE => {
                text = String::from_utf8(piece.to_vec()).map_err(|_| "a piece is not UTF-8".to_owned())?;
            }
            (1, _) => return Err(format!("a piece is longer than {LONGEST_PIECE} bytes")),
            (3, Wire::Number(number)) => kind = number,
            _ => {}
        }
    }
    Ok((text, kind))
}

/// `model_type` of the settings of training.
fn read_kind(bytes: &[u8]) -> Result<Option<u64>, String> {
    let mut message = Message(bytes);
    let mut kind = None;
    while let Some((field, value)) = message.next_field()? {
        if let (3, Wire::Number(number)) = (field, value) {
            kind = Some(number);
        }
    }
    Ok(kind)
}

/// The rest of a message of protocol buffers.
struct Message<'a>(&'a [u8]);

/// The value of a field.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A number of fixed width, which nothing here needs.
    Fixed,
}

impl<'a> Message<'a> {
    /// The next field, if there is one.
    fn next_field(&mut self) -> Result<Option<(u64, Wire<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let value = match key & 7 {
            0 => Wire::Number(self.number()?),
            1 => self.take(8).map(|_| Wire::Fixed)?,
            2 => {
                let len = self.number()?;
                Wire::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed)?,
            _ => return Err("it is no SentencePiece model".to_owned()),
        };
        Ok(Some((key >> 3, value)))
    }

    /// Seven bits of each byte, the lowest first; the highest bit says that another follows.
    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err("it is no SentencePiece model".to_owned())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let found = usize::try_from(len).ok().and_then(|len| self.0.split_at_checked(len));
        let (taken, rest) = found.ok_or_else(|| "it ends early; download it again".to_owned())?;
        self.0 = rest;
        Ok(taken)
    }
}
