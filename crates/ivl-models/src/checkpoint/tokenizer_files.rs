//! The tokenizer of a checkpoint in another directory.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::contents::{CheckpointFile, FileKind};
use super::open::Checkpoint;
use crate::files::write_bytes;
use crate::tokenizer::GgufTextFiles;
use crate::{Error, FileError};

/// Files that say the same as `tokenizer.json`.
const IN_TOKENIZER_JSON: [&str; 3] = ["tokenizer.model", "vocab.json", "merges.txt"];

impl Checkpoint {
    /// Writes the files of this checkpoint's tokenizer into a directory, each whole or not at all; of a GGUF file those that a
    /// directory of the same model has.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read or written; for a GGUF file also those of [`tokenizer`](Self::tokenizer).
    pub fn write_tokenizer(&self, output: &Path) -> Result<(), Error> {
        if let Some(texts) = GgufTextFiles::of(self.path())? {
            return self.write_gguf_tokenizer(texts, output);
        }
        let has_json = self.path().join("tokenizer.json").is_file();
        for name in CheckpointFile::of_kind(FileKind::Tokenizer) {
            if has_json && IN_TOKENIZER_JSON.contains(&name) {
                continue;
            }
            let from = self.path().join(name);
            if from.is_file() {
                let bytes = std::fs::read(&from).map_err(FileError::io("read", &from))?;
                write_bytes(&output.join(name), &bytes)?;
            }
        }
        Ok(())
    }

    fn write_gguf_tokenizer(&self, texts: GgufTextFiles, output: &Path) -> Result<(), Error> {
        write_bytes(&output.join("tokenizer.json"), self.tokenizer()?.to_json()?.as_bytes())?;
        // The class that takes tokenizer.json as it is.
        let mut config = Map::from_iter([("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"))]);
        config.extend(texts.tokenizer_config);
        for (name, json) in
            [("tokenizer_config.json", config), ("generation_config.json", texts.generation_config)]
        {
            write_bytes(&output.join(name), format!("{:#}\n", Value::Object(json)).as_bytes())?;
        }
        Ok(())
    }
}
