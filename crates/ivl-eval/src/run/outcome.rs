//! The result of a task.

use crate::score::Aggregate;

/// The result of a task.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub task: String,
    /// Its figures.
    pub figures: Vec<Aggregate>,
    /// Rows of the task.
    pub rows: usize,
    /// Rows that were measured.
    pub samples: usize,
    /// Of them, those whose answers an earlier run had logged.
    pub logged: usize,
    /// Examples before each prompt.
    pub num_fewshot: usize,
    /// Notes on the figures.
    pub notes: Notes,
    /// Answers for the harness of another project: `task_id` and completion, in the order of the rows.
    pub completions: Vec<(String, String)>,
}

/// Rows to warn about, by what is wrong with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// The context was too long and cut at its beginning.
    pub cut: usize,
    /// The target is not among the choices, so no answer can be right.
    pub without_gold: usize,
    /// A value could not read all of the text; where it cannot, only the base speaks.
    pub unreadable: usize,
}
