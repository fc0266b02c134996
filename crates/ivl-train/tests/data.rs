//! Data files of every kind and format.

use std::io::Write;
use std::path::{Path, PathBuf};

use ivl_models::Message;
use ivl_train::{Conversation, Dataset, Demonstration, Error, Field, Format, Row, SourceConfig};

fn tables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables")
}

fn rows(config: &SourceConfig) -> Result<Vec<Row>, Error> {
    let dataset = Dataset::open(std::slice::from_ref(config))?;
    dataset.sources[0].rows().collect()
}

/// Rows of a file of this content.
fn read(content: impl AsRef<[u8]>) -> Result<Vec<Row>, Error> {
    read_as(content, |_| ())
}

fn read_as(content: impl AsRef<[u8]>, change: impl FnOnce(&mut SourceConfig)) -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("rows");
    std::fs::write(&path, content).expect("writes");
    let mut config = SourceConfig::new(path);
    change(&mut config);
    rows(&config)
}

fn columns<const N: usize>(pairs: [(Field, &str); N]) -> impl FnOnce(&mut SourceConfig) {
    let columns = pairs.map(|(field, name)| (field, name.to_owned()));
    move |config| config.columns = columns.into()
}

#[track_caller]
fn refused(rows: Result<Vec<Row>, Error>, parts: &[&str]) {
    let message = rows.expect_err("refused").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn texts(rows: &[Row]) -> Vec<(usize, &str)> {
    rows.iter().map(numbered).collect()
}

fn numbered(row: &Row) -> (usize, &str) {
    match &row.demonstration {
        Demonstration::Text(text) => (row.place.number, text),
        other => panic!("{other:?}"),
    }
}

fn conversation(turns: &[(&str, &str)]) -> Demonstration {
    let messages = turns.iter().map(|(role, content)| Message::new(role, content)).collect();
    Demonstration::Conversation(Conversation::new(messages))
}

fn completion(prompt: &str, completion: &str) -> Demonstration {
    Demonstration::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
}

#[test]
fn the_formats_are_recognised_by_their_fields() {
    let check = |line: &str, expected: Demonstration| {
        let rows = read(line).expect(line);
        assert_eq!(rows[0].demonstration, expected, "{line}");
    };
    let talk = [("user", "q"), ("assistant", "a")];
    check(
        r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"prompt":"q"}"#,
        conversation(&talk),
    );
    check(
        r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}],"id":"x"}"#,
        conversation(&talk),
    );
    check(
        r#"{"system":"s","conversations":[{"role":"user","content":"q"},{"from":"gpt","value":"a"}]}"#,
        conversation(&[("system", "s"), talk[0], talk[1]]),
    );
    let instruction = |input: &str| Demonstration::Instruction {
        instruction: "i".to_owned(),
        input: input.to_owned(),
        output: "o".to_owned(),
        system: String::new(),
    };
    check(r#"{"instruction":"i","input":"x","output":"o","text":"rendered"}"#, instruction("x"));
    check(r#"{"instruction":"i","input":null,"output":"o"}"#, instruction(""));
    check(r#"{"prompt":"p","completion":"c"}"#, completion("p", "c"));
    check(r#"{"text":"t","label":1}"#, Demonstration::Text("t".to_owned()));
    let prompted = r#"{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},
        {"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#;
    let Demonstration::Conversation(found) =
        &read(prompted.replace('\n', "")).expect("reads")[0].demonstration
    else {
        panic!("a conversation")
    };
    assert_eq!(
        (found.messages.len(), found.given, found.trained_turns().collect::<Vec<_>>()),
        (4, 3, vec![3])
    );
}

#[test]
fn what_is_ambiguous_or_unknown_is_refused_with_a_way_out() {
    refused(
        read(r#"{"instruction":"i","output":"o","prompt":"p","completion":"c"}"#),
        &["line 1 of `", "alpaca and completion", "format = \"alpaca\""],
    );
    let forced = read_as(r#"{"instruction":"i","output":"o","prompt":"p","completion":"c"}"#, |config| {
        config.format = Some(Format::Completion);
    });
    assert_eq!(forced.expect("reads")[0].demonstration, completion("p", "c"));
    refused(
        read(r#"{"question":"q","answer":"a"}"#),
        &["[\"question\", \"answer\"]", "columns = { prompt ="],
    );
    refused(
        read_as(r#"{"text":"t"}"#, |config| config.format = Some(Format::Alpaca)),
        &["no `instruction`", "format alpaca", "[\"text\"]"],
    );
    refused(read(""), &["holds no rows"]);
    refused(read("\n \n"), &["holds no rows"]);
    refused(read("[]"), &["holds no rows"]);
}

#[test]
fn columns_may_have_other_names_and_be_deep() {
    let line = r#"{"text":"write f","code":"def f(): ..."}"#;
    let rows = read_as(line, columns([(Field::Prompt, "text"), (Field::Completion, "code")]));
    assert_eq!(rows.expect("reads")[0].demonstration, completion("write f", "def f(): ..."));
    let line = r#"{"id":1,"instruction":"i","instances":[{"input":"x","output":"o"}],"a.b":"exact"}"#;
    let deep = [(Field::Input, "instances.0.input"), (Field::Output, "instances.0.output")];
    let Demonstration::Instruction { input, output, .. } =
        read_as(line, columns(deep)).expect("reads").remove(0).demonstration
    else {
        panic!("an instruction")
    };
    assert_eq!((&*input, &*output), ("x", "o"));
    let rows = read_as(line, columns([(Field::Text, "a.b")])).expect("reads");
    assert_eq!(texts(&rows), [(1, "exact")]);
    let line = r#"{"dialog":[{"who":"user","says":"q"},{"who":"assistant","says":"a"}]}"#;
    let names = [(Field::Messages, "dialog"), (Field::Role, "who"), (Field::Content, "says")];
    let rows = read_as(line, columns(names)).expect("reads");
    assert_eq!(rows[0].demonstration, conversation(&[("user", "q"), ("assistant", "a")]));
    let mut config = ivl_train::DataConfig::new(vec![SourceConfig::new("x")]);
    columns([(Field::Prompt, "a"), (Field::Output, "b")])(&mut config.train[0]);
    let message = config.validate().expect_err("refused").to_string();
    assert!(message.contains("[\"output\", \"prompt\"]") && message.contains("one format"), "{message}");
}

#[test]
fn lines_arrays_and_compressed_files_are_told_by_their_bytes() {
    let lines = "{\"text\":\"a\"}\n\n{\"text\":\"b ]}\\\"\"}";
    assert_eq!(texts(&read(lines).expect("lines")), [(1, "a"), (3, "b ]}\"")]);
    let array = "\u{feff} [ {\"text\":\"a\"},\n {\"text\":\"b ]}\\\"\"} ]\n";
    assert_eq!(texts(&read(array).expect("array")), [(1, "a"), (2, "b ]}\"")]);
    for content in [lines, array] {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(content.as_bytes()).expect("writes");
        let mut zipped = zipped.finish().expect("writes");
        assert_eq!(texts(&read(&zipped).expect("gzip")).len(), 2);
        zipped.truncate(zipped.len() - 9);
        assert!(read(&zipped).is_err(), "a cut off file is no shorter file");
    }
}

/// Rows of a file of this name and content.
fn read_named(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join(name), content).expect("writes");
    rows(&SourceConfig::new(dir.path().join(name)))
}

#[test]
fn blanks_and_marks_before_the_first_row_are_skipped() {
    for start in ["\n", "\r\n\r\n", "\u{feff}\r\n", " \t\n ", "\u{feff}"] {
        let array = read(format!("{start}[{{\"text\":\"a\"}}, {{\"text\":\"b\"}}]")).expect(start);
        assert_eq!(texts(&array), [(1, "a"), (2, "b")], "{start:?}");
        let lines = read(format!("{start}{{\"text\":\"a\"}}\n{{\"text\":\"b\"}}")).expect(start);
        let first = 1 + start.matches('\n').count();
        assert_eq!(texts(&lines), [(first, "a"), (first + 1, "b")], "{start:?}");
    }
}

#[test]
fn zstd_is_unpacked() {
    let lines = "{\"text\":\"a\"}\n{\"text\":\"b\"}";
    let packed = zstd::encode_all(lines.as_bytes(), 1).expect("packs");
    assert_eq!(texts(&read(&packed).expect("zstd")), [(1, "a"), (2, "b")]);
    assert!(read(&packed[..packed.len() - 3]).is_err(), "a cut off file is no shorter file");
}

#[test]
fn tables_of_commas_and_tabs_have_a_header() {
    let csv = "prompt,completion,id\n\"Say \"\"hi\"\",\nplease\",Hello,1\nq,,2\n";
    let rows = read_named("rows.csv", csv).expect("reads");
    assert_eq!(rows[0].demonstration, completion("Say \"hi\",\nplease", "Hello"));
    assert_eq!(rows[1].demonstration, completion("q", ""));
    assert_eq!((rows[1].place.unit, rows[1].place.number), ("row", 2));
    let tsv = "\u{feff}messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"q\"\"},\
               {\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"a\"\"}]\"\n";
    let rows = read_named("rows.tsv", tsv).expect("reads");
    assert_eq!(rows[0].demonstration, conversation(&[("user", "q"), ("assistant", "a")]));
    let packed = zstd::encode_all(csv.as_bytes(), 1).expect("packs");
    assert_eq!(read_named("rows.csv.zst", packed).expect("reads").len(), 2);
    refused(read_named("rows.csv", "prompt,completion\na,b\nonly\n"), &["cannot read row 2 of `"]);
    refused(read_named("rows.csv", "prompt,completion\n"), &["holds no rows"]);
}

#[test]
fn a_column_that_occurs_twice_is_refused() {
    refused(read_named("t.csv", "prompt,completion,prompt\na,b,c\n"), &["cannot read row 1 of `"]);
}

#[test]
fn earlier_turns_and_functions_are_not_lost() {
    let row = r#"{"instruction": "Say", "output": "hi", "history": [["a", "b"]]}"#;
    refused(read(row), &["earlier turns in `history`", "messages"]);
    assert_eq!(read(r#"{"instruction": "Say", "output": "hi", "history": []}"#).expect("reads").len(), 1);
    let messages = r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"#;
    let tools = |fields: &str| {
        let rows = read(format!("{{\"messages\": {messages}, {fields}}}")).expect("reads");
        match &rows[0].demonstration {
            Demonstration::Conversation(conversation) => conversation.tools.clone(),
            other => panic!("{other:?}"),
        }
    };
    let functions = tools(r#""functions": [{"name": "f", "parameters": {}}]"#);
    assert_eq!(
        functions,
        tools(r#""tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]"#)
    );
    assert!(functions.is_some());
}

#[test]
fn a_pattern_names_several_files() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (name, text) in [("b.jsonl", "2"), ("a.jsonl", "1"), ("c.txt", "3")] {
        std::fs::write(dir.path().join(name), format!("{{\"text\":\"{text}\"}}")).expect("writes");
    }
    let pattern = |pattern: &str| rows(&SourceConfig::new(dir.path().join(pattern)));
    assert_eq!(texts(&pattern("*.jsonl").expect("reads")), [(1, "1"), (1, "2")]);
    assert_eq!(texts(&pattern("[bc].*").expect("reads")), [(1, "2"), (1, "3")]);
    refused(pattern("*.json"), &["holds no rows"]);
    refused(pattern("[.json"), &["is no pattern of paths"]);
}

#[test]
fn speakers_have_the_roles_of_templates() {
    let row = |name: &str| {
        format!(
            r#"{{"conversations":[{{"from":"human","value":"q"}},{{"from":"{name}","value":"a"}},{{"from":"gpt","value":"z"}}]}}"#
        )
    };
    let role = |rows: Vec<Row>| match &rows[0].demonstration {
        Demonstration::Conversation(conversation) => conversation.messages[1].role.clone(),
        other => panic!("{other:?}"),
    };
    for (name, expected) in [("ai", "assistant"), ("function_call", "assistant"), ("observation", "tool")] {
        assert_eq!(role(read(row(name)).expect(name)), expected);
    }
    refused(
        read(row("narrator")),
        &["line 1 of `", "unknown speaker `narrator`; say which role", "(turn 1 of `conversations`)"],
    );
    let mapped = |role: &str| {
        let roles = [("narrator".to_owned(), role.to_owned())];
        read_as(row("narrator"), move |config| config.roles = roles.into()).expect("reads")
    };
    assert_eq!(role(mapped("user")), "user");
    assert_eq!(role(mapped("narrator")), "narrator");
}

#[test]
fn turns_of_weight_0_are_read_but_not_trained() {
    let trained = |marks: [&str; 2]| {
        let turn = |mark: &str| {
            format!(r#"{{"role":"user","content":"q"}},{{"role":"assistant","content":"a"{mark}}}"#)
        };
        let rows = read(format!(r#"{{"messages":[{},{}]}}"#, turn(marks[0]), turn(marks[1]))).expect("reads");
        match &rows[0].demonstration {
            Demonstration::Conversation(conversation) => {
                assert!(conversation.messages.iter().all(|message| message.extra.is_empty()));
                conversation.trained_turns().collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(trained(["", ""]), [1, 3]);
    assert_eq!(trained([r#","weight":0"#, r#","weight":1"#]), [3]);
    assert_eq!(trained([r#","train":false"#, r#","train":true"#]), [3]);
    assert_eq!(trained([r#","weight":0.0"#, r#","training":false"#]), [0; 0]);
    let strange = |role: &str, mark: &str| {
        read(format!(
            r#"{{"messages":[{{"role":"{role}","content":"q"{mark}}},{{"role":"assistant","content":"a"}}]}}"#
        ))
    };
    refused(strange("user", r#","weight":0.5"#), &["`weight` is 0.5, expected 0 or 1 (turn 0"]);
    refused(strange("user", r#","train":true"#), &["a turn of `user` that is to be trained"]);
    strange("user", r#","weight":0"#).expect("reads");
}

#[test]
fn elements_of_an_array_are_cut_where_they_end() {
    // Objects of any shape and texts full of what could end them, against a parser that reads the array at once.
    let mut state = 7_u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let letters = ["\\", "\"", "{", "}", "[", "]", ",", "\n", "é", "日", "a", "\u{7}"];
    for _ in 0..300 {
        let mut words =
            |most: usize| -> String { (0..next(most)).map(|_| letters[next(letters.len())]).collect() };
        let row = |words: &mut dyn FnMut(usize) -> String| {
            let deep = serde_json::json!([{ words(3): [words(5), 1, null] }, []]);
            serde_json::json!({ "text": words(12), "deep": deep })
        };
        let rows: Vec<serde_json::Value> = (0..5).map(|_| row(&mut words)).collect();
        let compact = serde_json::to_string(&rows).expect("JSON");
        let pretty = serde_json::to_string_pretty(&rows).expect("JSON");
        let expected: Vec<&str> = rows.iter().map(|row| row["text"].as_str().expect("a text")).collect();
        for array in [compact, pretty] {
            let rows = read(&array).expect(&array);
            assert_eq!(
                texts(&rows).into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
                expected,
                "{array}"
            );
        }
    }
}

#[test]
fn broken_records_are_named() {
    refused(read("{\"text\":\"a\"}\n{\"text\": \n"), &["line 2 of `", "is not a JSON object"]);
    refused(read("{\"text\":\"a\"}\n{\"text\": 1}\n"), &["line 2 of `", "a number in `text`", "format text"]);
    refused(read("{\"text\":\"a\"}\n{\"prompt\": \"p\"}\n"), &["line 2 of `", "nothing in `text`"]);
    refused(read("[1]"), &["row 1 of `", "is not a JSON object"]);
    refused(read("[{\"text\":\"a\"},]"), &["row 2 of `", "is not a JSON object"]);
    refused(read("[{\"text\":\"a\"}, {\"te"), &["ends in the middle of row 2"]);
    refused(read("[{\"text\":\"a\"}][{}]"), &["continues after its array"]);
    refused(
        read("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}"),
        &["no turn of an assistant in `messages`"],
    );
    refused(
        read("{\"messages\":[{\"content\":\"q\"}]}"),
        &["a message without `role` or `from` (turn 0 of `messages`)"],
    );
    refused(
        read("{\"messages\":[{\"role\":\"assistant\",\"content\":1}]}"),
        &["a number as the content of a message"],
    );
    refused(read("{\"messages\":{}}"), &["an object in `messages`, expected a list of messages"]);
    let missing = rows(&SourceConfig::new("nowhere.jsonl")).expect_err("refused").to_string();
    assert!(missing.contains("cannot read `nowhere.jsonl`"), "{missing}");
}

#[test]
fn tables_of_pandas_and_pyarrow_are_read_with_every_codec() {
    let expected = |i: usize| {
        let (question, answer) = (format!("Question {i}? ü 日本"), format!("Answer {i}. 👩‍👩‍👧"));
        let talk = [("user", &*question), ("assistant", &*answer)];
        if i == 3 { conversation(&[("system", "Be brief."), talk[0], talk[1]]) } else { conversation(&talk) }
    };
    for codec in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let rows = rows(&SourceConfig::new(tables().join(format!("messages-{codec}.parquet")))).expect(codec);
        assert_eq!(rows.len(), 5);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!((row.place.unit, row.place.number), ("row", i + 1));
            assert_eq!(row.demonstration, expected(i), "{codec}");
        }
    }
    let rows_of = |name: &str| rows(&SourceConfig::new(tables().join(name))).expect(name);
    let instruction = |instruction: &str, input: &str, output: &str| Demonstration::Instruction {
        instruction: instruction.to_owned(),
        input: input.to_owned(),
        output: output.to_owned(),
        system: String::new(),
    };
    let alpaca: Vec<Demonstration> =
        rows_of("alpaca.parquet").into_iter().map(|row| row.demonstration).collect();
    assert_eq!(alpaca, [instruction("Add.", "1 and 2", "3"), instruction("Name a colour.", "", "Red.")]);
    assert_eq!(
        rows_of("sharegpt.parquet")[0].demonstration,
        conversation(&[("user", "Hi"), ("assistant", "Hello")])
    );
    assert_eq!(
        rows_of("maps.parquet")[0].demonstration,
        conversation(&[("user", "Hi"), ("assistant", "Hello")])
    );
    let Demonstration::Conversation(called) = &rows_of("calls.parquet")[0].demonstration else {
        panic!("a conversation")
    };
    assert_eq!(
        called.messages[1].extra["tool_calls"],
        serde_json::json!([{ "name": "weather", "arguments": { "city": "Rome", "unit": "C" } }])
    );
    let mut price = SourceConfig::new(tables().join("calls.parquet"));
    columns([(Field::Text, "price")])(&mut price);
    assert_eq!(texts(&rows(&price).expect("reads")), [(1, "12.50")]);
    let mut deep = SourceConfig::new(tables().join("sharegpt.parquet"));
    columns([(Field::Text, "extra.answer.text")])(&mut deep);
    assert_eq!(texts(&rows(&deep).expect("reads")), [(1, "deep")]);
}

#[test]
fn a_broken_table_is_an_error_and_no_panic() {
    let whole = std::fs::read(tables().join("messages-snappy.parquet")).expect("reads");
    refused(read(&whole[..whole.len() - 7]), &["cannot read the Parquet table"]);
    refused(read(&whole[..40]), &["cannot read the Parquet table"]);
    // Any byte may be wrong: what comes back is rows or an error.
    let flipped = (4..whole.len()).step_by(9).map(|at| {
        let mut broken = whole.clone();
        broken[at] ^= [0x01, 0x80, 0xff][at % 3];
        usize::from(read(&broken).is_err())
    });
    let (tried, errors) = (flipped.len(), flipped.sum::<usize>());
    assert!(errors > tried / 4, "{errors} of {tried} were noticed");
}

#[test]
fn a_directory_is_read_in_the_order_of_names_and_changes_the_fingerprint() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).expect("writes");
    write("b.jsonl", "{\"text\":\"2\"}");
    write("a.json", "[{\"text\":\"1\"}]");
    write("readme.md", "not data");
    let config = SourceConfig::new(dir.path());
    assert_eq!(texts(&rows(&config).expect("reads")), [(1, "1"), (1, "2")]);
    let fingerprint = || Dataset::open(std::slice::from_ref(&config)).expect("opens").fingerprint;
    let before = fingerprint();
    assert_eq!(before, fingerprint());
    write("b.jsonl", "{\"text\":\"3\"}");
    assert_ne!(before, fingerprint());
    std::fs::remove_file(dir.path().join("b.jsonl")).expect("removes");
    std::fs::remove_file(dir.path().join("a.json")).expect("removes");
    refused(rows(&config), &["holds no rows"]);
}
