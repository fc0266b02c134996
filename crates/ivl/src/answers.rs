//! The answers of a model to the prompts of some data, in a file that training reads.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ivl_core::decode::{GenerateConfig, TokenStream};
use ivl_models::{Message, RenderOptions, write_bytes};
use ivl_train::{Conversation, Dataset, Prompt, Row, SourceConfig};
use serde_json::{Value, json};

use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::model::Model;

/// Prompts that are answered at once.
const BATCH: usize = 8;

/// How a model answers the prompts of some data.
#[derive(Debug, Clone)]
pub struct AnswerSampling {
    sources: Vec<SourceConfig>,
    config: GenerateConfig,
}

/// How far the answers have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswersDone {
    /// Prompts answered.
    pub done: usize,
    /// All prompts.
    pub total: usize,
}

impl AnswerSampling {
    /// Answers to the prompts of some sources: rows of `prompt`, or any demonstrations, whose own answers are not read. Each batch
    /// of prompts has a seed of its own, derived from that of the configuration.
    pub fn new(sources: Vec<SourceConfig>, config: GenerateConfig) -> Self {
        Self { sources, config }
    }

    /// Writes the answers to a file of prompt-completion pairs, one a line. Goes on with the answers that an interrupted call has
    /// left there, if model, data and settings are the same, and does nothing if all are there.
    ///
    /// # Errors
    /// Rows that cannot be read, messages without a chat template, prompts that do not fit the model.
    pub fn write(&self, model: &Model, path: &Path, mut on_progress: impl FnMut(AnswersDone)) -> Result<()> {
        let dataset = Dataset::open_prompts(&self.sources)?;
        let rows = dataset.sources.iter().flat_map(ivl_train::Source::rows);
        let rows: Vec<Row> = rows.collect::<std::result::Result<_, _>>()?;
        let mut file = AnswerFile::open(path, &self.identity(model, &dataset)?)?;
        let total = rows.len();
        on_progress(AnswersDone { done: file.lines.min(total), total });
        for (index, batch) in rows.chunks(BATCH).enumerate() {
            let first = index * BATCH;
            if first + batch.len() <= file.lines {
                continue;
            }
            file.truncate(first)?;
            let answered = self.answer(model, batch, first as u64)?;
            file.append(&answered)?;
            on_progress(AnswersDone { done: file.lines, total });
        }
        Ok(())
    }

    /// Prompts with their answers.
    fn answer(&self, model: &Model, rows: &[Row], first: u64) -> Result<Vec<Value>> {
        let asked: Vec<Prompt> = rows.iter().map(|row| row.demonstration.prompt()).collect();
        let encode = |(row, prompt): (&Row, &Prompt)| {
            let at = |source| Error::At { place: row.place.to_string(), source: Box::new(source) };
            encode(model, prompt).map_err(at)
        };
        let ids = rows.iter().zip(&asked).map(encode).collect::<Result<Vec<_>>>()?;
        let mut config = self.config.clone();
        config.seed = config.seed.wrapping_add(first);
        let texts = collect(model.stream_tokens(&ids, &config)?, rows.len())?;
        Ok(asked.into_iter().zip(texts).map(|(prompt, text)| pair(prompt, &text)).collect())
    }

    /// All that decides the answers.
    fn identity(&self, model: &Model, dataset: &Dataset) -> Result<String> {
        let template = model.chat_template().map_or_else(|_| String::new(), |found| found.identity());
        let depends_on = json!({
            "model": model.identity()?,
            "template": template,
            "data": dataset.fingerprint,
            "config": format!("{:?}", self.config),
        });
        Ok(sha256(depends_on.to_string().as_bytes()))
    }
}

/// The texts of a stream's rows.
fn collect(stream: TokenStream<'_>, rows: usize) -> Result<Vec<String>> {
    let mut texts = vec![String::new(); rows];
    for token in stream {
        let token = token?;
        texts[token.row].push_str(&token.text);
    }
    Ok(texts)
}

fn encode(model: &Model, prompt: &Prompt) -> Result<Vec<u32>> {
    match prompt {
        Prompt::Text(text) => model.encode_prompt(text),
        Prompt::Messages(Conversation { messages, tools, template_kwargs, .. }) => {
            if messages.last().is_some_and(|last| last.role == "assistant") {
                let reason = "the prompt ends with a turn of the assistant, expected one to be answered";
                return Err(Error::Settings { reason: reason.to_owned() });
            }
            let (tools, extra) = (tools.clone(), template_kwargs.clone());
            let options = RenderOptions { add_generation_prompt: true, tools, extra };
            model.encode_rendered(messages, &options, &model.chat_template()?)
        }
    }
}

/// A row of a prompt and its answer.
fn pair(prompt: Prompt, answer: &str) -> Value {
    match prompt {
        Prompt::Text(prompt) => json!({ "prompt": prompt, "completion": answer }),
        Prompt::Messages(Conversation { messages, tools, template_kwargs, .. }) => {
            let completion = [Message::new("assistant", answer)];
            let mut row = json!({ "prompt": messages, "completion": completion });
            if let Some(tools) = tools {
                row["tools"] = json!(tools);
            }
            if !template_kwargs.is_empty() {
                row["chat_template_kwargs"] = json!(template_kwargs);
            }
            row
        }
    }
}

/// The file in the making. Beside it, a file of the same name that ends in `.identity` says what the answers depend on.
struct AnswerFile {
    path: PathBuf,
    file: File,
    /// Complete lines.
    lines: usize,
}

impl AnswerFile {
    /// Opens a file with answers of the same identity, else begins a new one.
    fn open(path: &Path, identity: &str) -> Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        let noted = path.with_extension("identity");
        let same = std::fs::read_to_string(&noted).is_ok_and(|before| before == identity);
        let options = OpenOptions::new().create(true).truncate(!same).read(true).write(true).clone();
        let file = options.open(path).map_err(Error::io("write", path))?;
        if !same {
            write_bytes(&noted, identity.as_bytes())?;
        }
        let mut opened = Self { path: path.to_owned(), file, lines: 0 };
        opened.truncate(usize::MAX)?;
        Ok(opened)
    }

    /// Keeps the first lines, up to the first that is not complete.
    fn truncate(&mut self, most: usize) -> Result<()> {
        let path = self.path.clone();
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &path))?;
        let (mut reader, mut line, mut kept) = (BufReader::new(&self.file), Vec::new(), 0);
        self.lines = 0;
        while self.lines < most {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(Error::io("read", &path))?;
            if !line.ends_with(b"\n") {
                break;
            }
            kept += read as u64;
            self.lines += 1;
        }
        let cut = self.file.set_len(kept).and_then(|()| self.file.seek(SeekFrom::End(0)));
        cut.map(|_| ()).map_err(Error::io("write", &self.path))
    }

    fn append(&mut self, rows: &[Value]) -> Result<()> {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        let text = lines.join("\n") + "\n";
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.lines += rows.len();
        Ok(())
    }
}
