//! Small base models that ship with ivl, and the world that they know.
//!
//! The [`World`] has people, books and villages, with facts about each. The models have read [`Corpus`]: statements in many
//! phrasings, stories and sums, never a question. Larger models remember more of it. [`questions`] ask about the facts,
//! with a chat template: the demonstrations about one half of the world, held-out questions about another part, and the
//! final test about the rest. So what is asked of a model is knowledge that it has from pre-training, and a skill, answering,
//! that it has not.
//!
//! Everything is computed from fixed seeds; `docs/demo-models.md` says how the models were made.
//!
//! # Example: the models as directories, and the questions
//!
//! ```
//! let dir = std::env::temp_dir().join("ivl-demo-models-example");
//! let paths = ivl_demo_models::unpack(&dir)?;
//! assert!(paths[0].join("config.json").is_file());
//! let first = &ivl_demo_models::demonstrations()[0];
//! assert!(first.question.ends_with('?') && first.answer.contains(&first.facts[0]));
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod attribute;
mod corpus;
mod directory;
mod models;
mod question;
mod sentence;
mod story;
mod sum;
mod words;
mod world;

pub use corpus::Corpus;
pub use models::{DemoFile, DemoModel, model, models, unpack};
pub use question::{Question, QuestionSplit, demonstrations, final_test, held_out, questions};
pub use world::{Entity, World};
