//! `metrics.jsonl`: one JSON object a line, for every event of a run.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

/// Name of the file in the output directory.
const METRICS: &str = "metrics.jsonl";

/// The open file.
pub(super) struct MetricsFile(File);

impl MetricsFile {
    /// Opens the file of a run that continues after `done` steps. Lines of a killed process beyond them are removed: those steps
    /// are done, and written, again.
    pub(super) fn open(output: &Path, done: usize) -> std::io::Result<Self> {
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).clone();
        let mut file = options.open(output.join(METRICS))?;
        let kept = if done == 0 { 0 } else { length_until(&file, done)? };
        file.set_len(kept)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// Writes a line. Metrics are a record, not the result: a full disk stops the run at the next checkpoint, with a clear
    /// error.
    pub(super) fn write(&mut self, kind: &str, mut line: Value) {
        line["kind"] = kind.into();
        let _ = self.0.write_all(format!("{line}\n").as_bytes());
    }
}

/// Bytes of the complete lines before the first that is truncated or of a later step.
fn length_until(file: &File, done: usize) -> std::io::Result<u64> {
    let (mut reader, mut line, mut length) = (BufReader::new(file), Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        let step = serde_json::from_slice(&line).ok().and_then(|line: Value| line["step"].as_u64());
        let whole = line.ends_with(b"\n") && step.is_some_and(|step| step <= done as u64);
        if !whole {
            return Ok(length);
        }
        length += read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resumed_run_writes_no_line_twice_and_keeps_no_torn_one() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join(METRICS);
        let text = || std::fs::read_to_string(&path).expect("reads");
        let lines = |done| {
            MetricsFile::open(dir.path(), done).expect("opens");
            text().lines().count()
        };
        let whole = "{\"kind\":\"eval\",\"step\":0}\n{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"step\",\"step\":2}\n";
        let write = |text: &str| std::fs::write(&path, text).expect("writes");
        write(&format!("{whole}{{\"kind\":\"step\",\"st"));
        assert_eq!(lines(9), 3, "a torn line goes");
        assert_eq!(lines(1), 2, "a later step goes");
        write(&format!("{whole}nonsense\n{whole}"));
        assert_eq!(lines(9), 3, "nothing after a broken line is trusted");
        write(&whole[..whole.len() - 1]);
        assert_eq!(lines(9), 2, "a line without its end is torn");
        assert_eq!(lines(0), 0, "a run from the beginning begins a new record");
        MetricsFile::open(dir.path(), 0).expect("opens").write("step", json!({ "step": 1 }));
        MetricsFile::open(dir.path(), 1).expect("opens").write("step", json!({ "step": 2 }));
        assert_eq!(text(), "{\"step\":1,\"kind\":\"step\"}\n{\"step\":2,\"kind\":\"step\"}\n");
    }
}
