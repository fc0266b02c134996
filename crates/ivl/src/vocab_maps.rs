//! Maps between vocabularies, by file or by method.

use std::path::{Path, PathBuf};

use ivl_align::{MapFile, Method, align};
use ivl_core::{Vocab, VocabMap};
use ivl_models::FileError;

use crate::error::{Error, Result};

/// Largest map file that is read: four million ids with weights.
const LARGEST_MAP: u64 = 64 << 20;

/// A method by its name.
///
/// # Errors
/// [`Error::UnknownMethod`].
pub fn alignment_method(name: &str) -> Result<Method> {
    name.parse().map_err(|()| Error::UnknownMethod {
        name: name.to_owned(),
        expected: Method::ALL.iter().map(|method| method.name()).collect(),
    })
}

/// Where a map comes from.
enum MapSource {
    File(PathBuf, Box<MapFile>),
    Method(Method),
}

impl MapSource {
    /// A map file, or a method that needs no corpus. A file of a method's name wins.
    fn read(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if !path.exists()
            && let Ok(method) = alignment_method(text)
        {
            return match method.needs() {
                Some(_) => Err(Error::MethodNeedsCorpus { method }),
                None => Ok(Self::Method(method)),
            };
        }
        let got = std::fs::metadata(path).map_err(Error::io("read the map", path))?.len();
        if got > LARGEST_MAP {
            let too_large =
                FileError::TooLarge { path: path.to_owned(), what: "a map", got, limit: LARGEST_MAP };
            return Err(too_large.into());
        }
        let bytes = std::fs::read(path).map_err(Error::io("read the map", path))?;
        let file = MapFile::from_bytes(&bytes).map_err(in_file(path))?;
        Ok(Self::File(path.to_owned(), Box::new(file)))
    }

    fn between(&self, base: &Vocab, value: &Vocab) -> Result<VocabMap> {
        match self {
            Self::Method(method) => Ok(align(base, value, *method, None, &|_| ())?.map),
            Self::File(path, file) => file.map(base, value).map_err(in_file(path)),
        }
    }
}

fn in_file<E: Into<Error>>(path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Map { path: path.to_owned(), source: Box::new(source.into()) }
}

/// Files and methods, tried in their order.
pub(crate) struct VocabMaps(Vec<MapSource>);

impl VocabMaps {
    /// Reads the files and looks the methods up.
    pub(crate) fn read(sources: &[String]) -> Result<Self> {
        sources.iter().map(|text| MapSource::read(text)).collect::<Result<_>>().map(Self)
    }

    /// The first map that leads from a value's vocabulary to a base's; `None` where there is no source at all.
    ///
    /// # Errors
    /// The error of the last source, if no source leads there.
    pub(crate) fn between(&self, base: &Vocab, value: &Vocab) -> Result<Option<VocabMap>> {
        let mut failed = None;
        for source in &self.0 {
            match source.between(base, value) {
                Ok(map) => return Ok(Some(map)),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}
