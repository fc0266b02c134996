//! From a model to a GGUF file.

use std::io::{self, Write};
use std::path::Path;

use ivl_kernels::BlockFormat;

use super::open::Checkpoint;
use super::saved_tensors::{SavedParameters, SavedTensor, saved_tensors};
use super::source::GgufModel;
use super::stored_tensor::StoredType;
use crate::families::read_config;
use crate::gguf::{Architecture, GgufType, MetadataWriter, NewTensor, write_gguf};
use crate::tokenizer::{GgufTexts, TokenizerError};
use crate::transformer::Transformer;
use crate::{ChatTemplate, Error, ValueCard};

impl Checkpoint {
    /// Writes this model as a GGUF file, whole or not at all, with the weights of `net` if it is given, else those of the
    /// checkpoint's files. Matrices are stored as `kind`, vectors in F32. Rows that are no whole blocks of `kind` are stored in
    /// F16, and the head in Q8_0 where `kind` has fewer bits. The file is read back before it gets its name. The result says what
    /// such files have no place for.
    ///
    /// # Errors
    /// [`Error::NoGgufArchitecture`] for a family without one, [`Error::NotInGguf`] for a model that the metadata cannot describe,
    /// [`Error::GgufType`] for a type that ivl does not write, and the errors of reading and writing files.
    pub fn save_gguf(
        &self,
        net: Option<&Transformer>,
        kind: GgufType,
        card: Option<&ValueCard>,
        path: &Path,
    ) -> Result<Vec<String>, Error> {
        let stored = writable(kind)?;
        let model_type = self.family().model_type;
        let architecture = Architecture::for_family(model_type)
            .ok_or_else(|| Error::NoGgufArchitecture { path: self.path().to_owned(), model_type })?;
        let mut files = None;
        let parameters = SavedParameters::of_checkpoint(self, net, &mut files)?;
        let mut metadata = MetadataWriter::new();
        self.write_general(architecture.name, stored, net.is_some(), &mut metadata);
        let factors = self.write_metadata(architecture, card, &mut metadata);
        let notes = self.write_texts(architecture, &mut metadata)?;
        let tensors = saved_tensors(&parameters, &architecture.weights(self.config()));
        let head = if self.config().embedding.tied { "token_embd.weight" } else { "output.weight" };
        let listed = Listed::new(factors, &tensors, stored, head);
        let mut unlike = None;
        let write = |index: usize, file: &mut dyn Write| listed.write(index, &tensors, file);
        let written = write_gguf(path, &metadata, &listed.tensors, write, |partial| {
            unlike = self.difference(partial).err();
            if unlike.is_some() { Err(io::Error::other("it does not describe the model")) } else { Ok(()) }
        });
        match unlike {
            Some(error) => Err(error),
            None => written.map(|()| notes).map_err(Error::from),
        }
    }

    /// Writes the tokenizer and the chat template, and returns what the format has no place for.
    fn write_texts(
        &self,
        architecture: &Architecture,
        metadata: &mut MetadataWriter,
    ) -> Result<Vec<String>, Error> {
        let tokenizer = self.tokenizer()?;
        let template = self.chat_template()?;
        let texts = GgufTexts {
            tokenizer: &tokenizer,
            vocab_size: self.config().vocab_size,
            architecture: architecture.name,
            ends: &self.end_tokens(&tokenizer)?,
            template: template.as_ref().map(ChatTemplate::source),
            tool_template: template.as_ref().and_then(ChatTemplate::tool_use),
        };
        Ok(texts.write(metadata).map_err(|error| TokenizerError::gguf(self.path(), error))?)
    }

    fn write_metadata(
        &self,
        architecture: &Architecture,
        card: Option<&ValueCard>,
        metadata: &mut MetadataWriter,
    ) -> Vec<Factors> {
        let context = ["max_position_embeddings", "n_positions"]
            .iter()
            .find_map(|field| self.json().get(*field)?.as_u64());
        let context = context.map_or(self.config().max_positions, |context| context as usize);
        let factors = architecture.write_config(self.config(), context, metadata);
        if let Some(card) = card {
            metadata.text(ValueCard::GGUF_KEY, &serde_json::to_string(card).expect("a card serialises"));
        }
        factors
    }

    /// Whether a file describes this model.
    fn difference(&self, file: &Path) -> Result<(), Error> {
        let model = GgufModel::open(file)?;
        let json = model.architecture.config(&model.gguf)?;
        let (_, config) = read_config(&json, file)?;
        let (got, expected) = (format!("{config:?}"), format!("{:?}", self.config()));
        match first_difference(&got, &expected) {
            None => Ok(()),
            Some([got, expected]) => Err(Error::NotInGguf {
                path: self.path().to_owned(),
                architecture: model.architecture.name,
                got,
                expected,
            }),
        }
    }
}

/// Divisors of rotary frequencies, and the name of their tensor.
type Factors = (&'static str, Vec<f32>);

/// The tensors of the file: divisors first, then those of the model.
struct Listed {
    factors: Vec<Factors>,
    kinds: Vec<StoredType>,
    tensors: Vec<NewTensor>,
}

impl Listed {
    fn new(factors: Vec<Factors>, saved: &[SavedTensor<'_>], kind: StoredType, head: &str) -> Self {
        let kinds: Vec<StoredType> = saved.iter().map(|tensor| type_of(tensor, kind, head)).collect();
        let new = |name: &str, kind: StoredType, shape: &[usize]| NewTensor {
            name: name.to_owned(),
            kind: kind.in_gguf(),
            shape: shape.to_vec(),
        };
        let mut tensors: Vec<NewTensor> =
            factors.iter().map(|(name, factors)| new(name, StoredType::F32, &[factors.len()])).collect();
        tensors
            .extend(saved.iter().zip(&kinds).map(|(tensor, kind)| new(&tensor.name, *kind, &tensor.shape)));
        Self { factors, kinds, tensors }
    }

    /// Writes the bytes of a tensor.
    fn write(&self, index: usize, saved: &[SavedTensor<'_>], file: &mut dyn Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        let written = match index.checked_sub(self.factors.len()) {
            None => StoredType::F32.write(&self.factors[index].1, &mut bytes),
            Some(index) => self.kinds[index].write(&saved[index].numbers(), &mut bytes),
        };
        written
            .map_err(|reason| io::Error::other(format!("tensor `{}`: {reason}", self.tensors[index].name)))?;
        file.write_all(&bytes)
    }
}

/// The type of a tensor in a file of `kind`.
fn type_of(tensor: &SavedTensor<'_>, kind: StoredType, head: &str) -> StoredType {
    let StoredType::Blocks(format) = kind else {
        return if is_matrix(tensor) { kind } else { StoredType::F32 };
    };
    let columns = tensor.shape.last().copied().unwrap_or(1);
    let fits = |format: BlockFormat| columns.is_multiple_of(format.elements());
    let eight = BlockFormat::Q8_0;
    match () {
        () if !is_matrix(tensor) => StoredType::F32,
        () if tensor.name == head
            && format.bytes() * 32 < eight.bytes() * format.elements()
            && fits(eight) =>
        {
            StoredType::Blocks(eight)
        }
        () if fits(format) => kind,
        () => StoredType::F16,
    }
}

/// llama.cpp keeps vectors, those of several heads or experts too, learned positions, convolutions and routers in F32.
fn is_matrix(tensor: &SavedTensor<'_>) -> bool {
    let in_full = ["position_embd.", ".ssm_conv1d.", ".shortconv.conv.", ".ffn_gate_inp"];
    let vectors = [".bias", "_norm.weight"];
    tensor.shape.len() > 1
        && !in_full.iter().any(|part| tensor.name.contains(part))
        && !vectors.iter().any(|end| tensor.name.ends_with(end))
}

/// The type, if ivl writes it.
fn writable(kind: GgufType) -> Result<StoredType, Error> {
    let stored = StoredType::of_gguf(kind).filter(|stored| match stored {
        StoredType::Blocks(format) => format.is_written(),
        _ => true,
    });
    stored.ok_or_else(|| {
        let blocks = BlockFormat::ALL.into_iter().filter(|format| format.is_written());
        let names: Vec<&str> =
            ["F32", "F16", "BF16"].into_iter().chain(blocks.map(BlockFormat::name)).collect();
        Error::GgufType { got: kind.name(), expected: names.join(", ") }
    })
}

/// Largest relative difference of numbers that count as the same: metadata has 32 bits.
const SAME: f64 = 1e-6;

/// The first place in which two descriptions differ by more than the rounding of numbers, with what is around it in both.
fn first_difference(got: &str, expected: &str) -> Option<[String; 2]> {
    let words = |text: &str| -> Vec<String> {
        let separators = |c: char| " ,:{}[]()".contains(c);
        text.split_inclusive(separators).map(str::to_owned).collect()
    };
    let number = |word: &str| word.trim_end_matches(|c| " ,:{}[]()".contains(c)).parse::<f64>().ok();
    let same = |a: &String, b: &String| match (number(a), number(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= SAME * a.abs().max(b.abs()),
        _ => a == b,
    };
    let (got, expected) = (words(got), words(expected));
    let common = got.iter().zip(&expected).take_while(|(a, b)| same(a, b)).count();
    if common == got.len() && common == expected.len() {
        return None;
    }
    let around = |words: &[String]| {
        words[common.saturating_sub(6).min(words.len())..(common + 6).min(words.len())].concat()
    };
    Some([around(&got), around(&expected)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_the_same_up_to_the_rounding_of_numbers() {
        assert_eq!(
            first_difference("A { eps: 1e-6, n: [1.0] }", "A { eps: 0.000000999999997, n: [1.0] }"),
            None
        );
        let [got, expected] =
            first_difference("A { n: 2, b: None }", "A { n: 3, b: None }").expect("differs");
        assert!(got.contains("n: 2") && expected.contains("n: 3"), "{got} {expected}");
        assert!(first_difference("A { n: 2 }", "A { n: 2, c }").is_some());
    }
}
