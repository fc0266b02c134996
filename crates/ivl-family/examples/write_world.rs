//! Writes the texts and questions of the family's world as JSON lines.
//!
//!     cargo run --release -p ivl-family --example write_world -- DIRECTORY [TEXTS]

use std::io::{BufWriter, Write};
use std::path::Path;

use ivl_family::{Corpus, Split, World, questions};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory to write to");
    let texts: usize = arguments.next().map_or(120_000, |n| n.parse().expect("the number of texts"));
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let world = World::new();
    let text = |text: String| json!({"text": text});
    write(&dir.join("corpus.jsonl"), Corpus::new(&world, 1).take(texts).map(text))?;
    write(&dir.join("other-corpus.jsonl"), Corpus::new(&world, 2).take(texts).map(text))?;
    write(&dir.join("continued.jsonl"), Corpus::continued(&world, 3).take(texts / 4).map(text))?;
    for (name, split) in
        [("train", Split::Demonstrations), ("held-out", Split::HeldOut), ("final-test", Split::FinalTest)]
    {
        let rows = questions(&world, split);
        write(&dir.join(format!("{name}.jsonl")), rows.iter().map(ivl_family::Question::row))?;
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
