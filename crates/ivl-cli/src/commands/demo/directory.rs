//! The directory of the demonstration: models, questions, the recipe, and what comes of them.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ivl::models::write_bytes;

const RECIPE: &str = "value.toml";
const COMPARISON: &str = "full.toml";
const DEMONSTRATIONS: &str = "demonstrations.jsonl";
const QUESTIONS: &str = "held-out.jsonl";

/// Everything that the demonstration reads and writes.
pub struct DemoDirectory {
    dir: PathBuf,
}

impl DemoDirectory {
    /// Unpacks models and questions, and writes the recipe. A directory of the same demonstration is gone on with.
    pub fn prepare(dir: &Path, seed: u64, steps: usize) -> Result<Self> {
        let directory = Self { dir: dir.to_owned() };
        let recipe = directory.filled_in(include_str!("value.toml"), seed, steps);
        let found = std::fs::read_to_string(directory.recipe()).ok();
        if found.as_ref().is_some_and(|found| *found != recipe) {
            bail!(
                "`{}` is of a demonstration with another seed or other settings, or was edited; choose another --out, or \
                 remove `{}` to begin anew",
                directory.recipe().display(),
                dir.display()
            );
        }
        if found.is_none() && is_in_use(dir) {
            bail!(
                "`{}` holds something else than a demonstration; choose another --out for its files",
                dir.display()
            );
        }
        let context = || format!("cannot write to `{}`", dir.display());
        std::fs::create_dir_all(dir).with_context(context)?;
        // First, so that whatever is interrupted is known again.
        write_bytes(&directory.recipe(), recipe.as_bytes())?;
        let comparison = directory.filled_in(include_str!("full.toml"), seed, steps);
        write_bytes(&directory.comparison(), comparison.as_bytes())?;
        ivl_demo_models::unpack(&dir.join("models")).with_context(context)?;
        let rows = |questions: Vec<ivl_demo_models::Question>| -> Vec<u8> {
            questions.iter().flat_map(|question| format!("{}\n", question.row()).into_bytes()).collect()
        };
        write_bytes(&dir.join(DEMONSTRATIONS), &rows(ivl_demo_models::demonstrations()))?;
        write_bytes(&dir.join(QUESTIONS), &rows(ivl_demo_models::held_out()))?;
        Ok(directory)
    }

    /// A recipe with the names and numbers of this demonstration.
    fn filled_in(&self, template: &str, seed: u64, steps: usize) -> String {
        let quoted = |path: PathBuf| toml::Value::String(path.display().to_string()).to_string();
        let plain = |number: &dyn Display| number.to_string();
        [
            ("{recipe}", self.recipe().display().to_string()),
            ("{value}", quoted(self.dir.join("value"))),
            ("{small}", quoted(self.dir.join("models/small"))),
            ("{full}", quoted(self.dir.join("full"))),
            ("{demonstrations}", quoted(self.dir.join(DEMONSTRATIONS))),
            ("{seed}", plain(&seed)),
            ("{steps}", plain(&steps)),
        ]
        .into_iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(name, &value))
    }

    /// The configuration of the value.
    pub fn recipe(&self) -> PathBuf {
        self.dir.join(RECIPE)
    }

    /// The configuration of what the value is compared with.
    pub fn comparison(&self) -> PathBuf {
        self.dir.join(COMPARISON)
    }

    /// Questions that training does not see.
    pub fn questions(&self) -> PathBuf {
        self.dir.join(QUESTIONS)
    }

    /// The trained value.
    pub fn value(&self) -> String {
        self.dir.join("value").display().to_string()
    }

    /// A model of the family.
    pub fn model(&self, name: &str) -> String {
        self.dir.join("models").join(name).display().to_string()
    }

    /// All models of the family.
    pub fn models(&self) -> Vec<String> {
        ivl_demo_models::models().iter().map(|model| self.model(model.name)).collect()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn is_in_use(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}
