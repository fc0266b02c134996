//! Writes the texts and questions of the family's world as JSON lines.
//!
//!     cargo run --release -p ivl-demo-models --example write_world -- DIRECTORY

use std::io::{BufWriter, Write};
use std::path::Path;

use ivl_demo_models::{Corpus, QuestionSplit, World, questions};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let dir = std::env::args().nth(1).expect("a directory to write to");
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let world = World::new();
    let corpora = [
        ("corpus", 120_000, Corpus::plain(&world, 1)),
        ("varied", 60_000, Corpus::varied(&world, 4)),
        ("other-corpus", 105_000, Corpus::varied(&world, 2)),
        ("more", 40_000, Corpus::varied(&world, 5)),
        ("ships", 30_000, Corpus::ships(&world, 3)),
    ];
    for (name, texts, corpus) in corpora {
        write(&dir.join(format!("{name}.jsonl")), corpus.take(texts).map(|text| json!({"text": text})))?;
    }
    for (name, split) in [
        ("train", QuestionSplit::Demonstrations),
        ("held-out", QuestionSplit::HeldOut),
        ("final-test", QuestionSplit::FinalTest),
    ] {
        let rows = questions(&world, split);
        write(&dir.join(format!("{name}.jsonl")), rows.iter().map(ivl_demo_models::Question::row))?;
    }
    Ok(())
}

fn write(path: &Path, rows: impl Iterator<Item = Value>) -> std::io::Result<()> {
    let beside = path.with_extension("partial");
    let mut file = BufWriter::new(std::fs::File::create(&beside)?);
    for row in rows {
        writeln!(file, "{row}")?;
    }
    file.flush()?;
    std::fs::rename(&beside, path)
}
