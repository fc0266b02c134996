//! The models, as they were pre-trained: directories in Hugging Face layout, inside the program.

use std::io;
use std::path::{Path, PathBuf};

use crate::directory::write_directory;

/// One file of a model.
#[derive(Clone, Copy, Debug)]
pub struct DemoFile {
    /// Its name inside the model's directory.
    pub name: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

/// A pre-trained model of the family.
#[derive(Clone, Copy, Debug)]
pub struct DemoModel {
    /// The name of its directory, such as `small`.
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// The files of its directory.
    pub files: [DemoFile; 4],
}

macro_rules! model {
    ($name:literal, $about:literal) => {
        DemoModel {
            name: $name,
            about: $about,
            files: [
                file!($name, "model.safetensors"),
                file!($name, "tokenizer.json"),
                file!($name, "tokenizer_config.json"),
                file!($name, "config.json"),
            ],
        }
    };
}

macro_rules! file {
    ($model:literal, $name:literal) => {
        DemoFile { name: $name, bytes: include_bytes!(concat!("../models/", $model, "/", $name)) }
    };
}

const MODELS: [DemoModel; 5] = [
    model!("small", "the smallest: values are trained against it"),
    model!("medium", "the same family, larger"),
    model!("large", "the same family, largest"),
    model!("continued", "`medium`, trained further on logs of ships"),
    model!(
        "other",
        "another architecture with another vocabulary, trained on other texts about the same world"
    ),
];

/// All models: `small`, `medium`, `large`, `continued` and `other`.
pub fn models() -> &'static [DemoModel] {
    &MODELS
}

/// The model of a name.
pub fn model(name: &str) -> Option<&'static DemoModel> {
    MODELS.iter().find(|model| model.name == name)
}

impl DemoModel {
    /// Writes the model's directory into `dir` and says where it is. An existing directory stays as it is if
    /// it holds the same, and replaced otherwise.
    ///
    /// # Errors
    /// Errors of the file system; no half-written directory remains.
    pub fn unpack(&self, dir: &Path) -> io::Result<PathBuf> {
        write_directory(&dir.join(self.name), &self.files.map(|file| (file.name, file.bytes)))
    }
}

/// Writes the directories of all models into `dir`, in the order of [`models`].
///
/// # Errors
/// As [`DemoModel::unpack`].
pub fn unpack(dir: &Path) -> io::Result<Vec<PathBuf>> {
    MODELS.iter().map(|model| model.unpack(dir)).collect()
}
