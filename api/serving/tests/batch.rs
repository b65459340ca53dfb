//! Files of rows through a model: every form in and out, casts, bad rows, order, folders that go on.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use runlode_models::signature::{Schema, Signature};
use runlode_models::{Cells, Column, DType, Frame, Input, Label, Value};
use runlode_serving::batch::{self, BadRow, BatchError, Done, Form, OnError, Scoring, Source, Target, Watch};
use runlode_serving::{Engine, Output, PredictError};
use serde_json::json;

/// Answers the sum of the first two columns; raises on rows whose sum is negative, as a model may.
#[derive(Debug, Default)]
struct Sum {
    calls: AtomicUsize,
}

impl Engine for Sum {
    fn predict(&self, input: Input, _params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let Input::Frame(frame) = input else { panic!("{input:?}") };
        let column = |at: usize| match &frame.columns[at].cells {
            Cells::Array(DType::Float64, values) => values.as_primitive::<Float64Type>().clone(),
            Cells::Array(DType::Int64, values) => {
                values.as_primitive::<Int64Type>().unary::<_, Float64Type>(|value| value as f64)
            }
            other => panic!("{other:?}"),
        };
        let (a, b) = (column(0), column(1));
        let sums: Vec<f64> = (0..frame.rows_count)
            .map(|row| {
                let value = |column: &Float64Array| if column.is_null(row) { f64::NAN } else { column.value(row) };
                value(&a) + value(&b)
            })
            .collect();
        if let Some(sum) = sums.iter().find(|sum| **sum < 0.0) {
            return Err(PredictError::Raised {
                status: 400,
                code: "BAD_REQUEST".into(),
                message: format!("the sum {sum} is negative"),
                stack_trace: String::new(),
            });
        }
        let cells = Cells::Array(DType::Float64, Arc::new(Float64Array::from(sums)));
        let rows_count = frame.rows_count;
        let columns = vec![Column { name: Label::Text("sum".into()), cells }];
        Ok(Output::Data(Input::Frame(Frame { columns, rows_count, index: None })))
    }
}

#[derive(Default)]
struct Seen {
    bad: Vec<BadRow>,
    rows: u64,
}

impl Watch for Seen {
    fn progress(&mut self, rows: u64, _total: Option<u64>) {
        assert!(rows >= self.rows, "progress goes forward");
        self.rows = rows;
    }

    fn skipped(&mut self, _path: &str, bad: &BadRow) -> Result<(), BatchError> {
        self.bad.push(bad.clone());
        Ok(())
    }
}

fn signature(inputs: &str) -> Signature {
    Signature { inputs: Some(Schema::from_json(inputs).unwrap()), ..Signature::default() }
}

fn two_doubles() -> Signature {
    signature(r#"[{"type": "double", "name": "a"}, {"type": "long", "name": "b"}]"#)
}

fn scoring<'a>(engine: &'a dyn Engine, signature: Option<&'a Signature>, on_error: OnError) -> Scoring<'a> {
    Scoring { engine, signature, params: None, batch_rows: 3, workers: 4, on_error, carried: &[] }
}

fn run(scoring: &Scoring<'_>, input: &Path, output: &Path) -> Result<(Done, Seen), BatchError> {
    let mut seen = Seen::default();
    let form = Form::of_path(input).unwrap();
    let target = Target::File(output.to_path_buf());
    let done = batch::score(
        scoring,
        &Source::File(input.to_path_buf()),
        form,
        &target,
        Form::of_path(output).unwrap(),
        &mut seen,
    )?;
    Ok((done, seen))
}

const ROWS: i64 = 100;

/// The same rows in each form: `a` counts by halves, `b` by ones, `id` is a text.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let a: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| row as f64 / 2.0)));
    let b: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let id: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("row {row}"))));
    let batch = RecordBatch::try_from_iter([("id", id), ("b", b), ("a", a)]).unwrap();
    let path = |name: &str| folder.join(name);
    let mut parquet =
        parquet::arrow::ArrowWriter::try_new(fs::File::create(path("in.parquet")).unwrap(), batch.schema(), None)
            .unwrap();
    parquet.write(&batch).unwrap();
    parquet.close().unwrap();
    let mut arrow =
        arrow_ipc::writer::FileWriter::try_new(fs::File::create(path("in.arrow")).unwrap(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    arrow.finish().unwrap();
    let mut stream =
        arrow_ipc::writer::StreamWriter::try_new(fs::File::create(path("in.ipc")).unwrap(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    let mut csv = fs::File::create(path("in.csv")).unwrap();
    let mut lines = fs::File::create(path("in.jsonl")).unwrap();
    writeln!(csv, "id,b,a").unwrap();
    for row in 0..ROWS {
        writeln!(csv, "\"row {row}\",{row},{}", row as f64 / 2.0).unwrap();
        writeln!(lines, "{}", json!({"id": format!("row {row}"), "b": row, "a": row as f64 / 2.0})).unwrap();
    }
    ["in.parquet", "in.arrow", "in.ipc", "in.csv", "in.jsonl"].map(path).to_vec()
}

fn sums(path: &Path) -> (Vec<String>, Vec<f64>) {
    let mut ids = Vec::new();
    let mut sums = Vec::new();
    let mut take = |batch: &RecordBatch| {
        let id = arrow_cast::cast(batch.column_by_name("id").unwrap(), &arrow_schema::DataType::Utf8).unwrap();
        ids.extend(id.as_string::<i32>().iter().map(|id| id.unwrap().to_owned()));
        sums.extend(batch.column_by_name("sum").unwrap().as_primitive::<Float64Type>().values());
    };
    match Form::of_path(path).unwrap() {
        Form::Parquet => {
            let file = fs::File::open(path).unwrap();
            let reader =
                parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            reader.for_each(|batch| take(&batch.unwrap()));
        }
        Form::Arrow => {
            let reader =
                arrow_ipc::reader::FileReader::try_new(BufReader::new(fs::File::open(path).unwrap()), None).unwrap();
            reader.for_each(|batch| take(&batch.unwrap()));
        }
        Form::Csv => {
            let mut reader = csv::Reader::from_path(path).unwrap();
            assert_eq!(reader.headers().unwrap(), &["id", "sum"][..]);
            for record in reader.records() {
                let record = record.unwrap();
                ids.push(record[0].to_owned());
                sums.push(record[1].parse().unwrap());
            }
        }
        Form::JsonLines => {
            for line in fs::read_to_string(path).unwrap().lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                ids.push(row["id"].as_str().unwrap().to_owned());
                sums.push(row["sum"].as_f64().unwrap());
            }
        }
    }
    (ids, sums)
}

#[test]
fn every_form_goes_to_every_form_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Sum::default();
    let signature = two_doubles();
    let carried = ["id".to_owned()];
    let scoring = Scoring { carried: &carried, ..scoring(&engine, Some(&signature), OnError::Fail) };
    let expected: Vec<f64> = (0..ROWS).map(|row| row as f64 * 1.5).collect();
    for input in inputs(folder.path()) {
        for ending in ["csv", "jsonl", "parquet", "arrow"] {
            let output = folder.path().join(format!("out.{ending}"));
            let (done, seen) = run(&scoring, &input, &output).unwrap();
            assert_eq!((done, seen.rows), (Done { rows: 100, skipped: 0 }, 100));
            let (ids, found) = sums(&output);
            assert_eq!(found, expected, "{} to {ending}", input.display());
            assert!(ids.iter().enumerate().all(|(row, id)| *id == format!("row {row}")));
        }
    }
    assert!(engine.calls.load(Ordering::Relaxed) >= 5 * 4 * 34, "batches of three rows");
}

#[test]
fn bad_rows_are_named_and_end_the_job_or_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.csv"), folder.path().join("out.jsonl"));
    // Row 2 has a field too few, row 4 no integer, row 7 makes the model raise, row 8 has an empty integer.
    fs::write(&input, "a,b\n1,1\n2\n3,3\n4,x\n,5\n6,6\n-9,1\n8,\n9,9\n").unwrap();
    let engine = Sum::default();
    let signature = two_doubles();
    let error = run(&scoring(&engine, Some(&signature), OnError::Fail), &input, &output).err().unwrap();
    let BatchError::Row { bad, .. } = &error else { panic!("{error}") };
    assert_eq!((bad.row, bad.line), (2, Some(3)));
    assert!(error.to_string().contains("--on-error skip"), "{error}");
    assert!(!output.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no unfinished file is left");

    let (done, seen) = run(&scoring(&engine, Some(&signature), OnError::Skip), &input, &output).unwrap();
    assert_eq!(done, Done { rows: 5, skipped: 4 });
    let bad: Vec<(u64, Option<u64>, Option<&str>)> =
        seen.bad.iter().map(|bad| (bad.row, bad.line, bad.column.as_deref())).collect();
    assert_eq!(bad, [(2, Some(3), None), (4, Some(5), Some("b")), (7, Some(8), None), (8, Some(9), Some("b"))]);
    assert_eq!(seen.bad[1].why, "\"x\" is no long");
    assert!(seen.bad[2].why.contains("-8 is negative"), "{}", seen.bad[2].why);
    let text = fs::read_to_string(&output).unwrap();
    assert_eq!(text, "{\"sum\": 2.0}\n{\"sum\": 6.0}\n{\"sum\": NaN}\n{\"sum\": 12.0}\n{\"sum\": 18.0}\n");
}

#[test]
fn columns_that_do_not_fit_are_told_before_anything_is_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.csv"), folder.path().join("out.csv"));
    fs::write(&input, "a,c\n1,1\n").unwrap();
    let engine = Sum::default();
    let signature = two_doubles();
    let error = run(&scoring(&engine, Some(&signature), OnError::Skip), &input, &output).err().unwrap().to_string();
    assert!(error.contains("'b' (long)") && error.contains("'a', 'c'"), "{error}");
    let carried = ["nowhere".to_owned()];
    let scoring = Scoring { carried: &carried, ..scoring(&engine, Some(&signature), OnError::Skip) };
    assert!(run(&scoring, &input, &output).err().unwrap().to_string().contains("'nowhere'"));
    assert_eq!(engine.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_model_without_a_signature_has_types_of_the_first_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.csv"), folder.path().join("out.csv"));
    fs::write(&input, "a,b\n1.5,1\n2,2\n3,3\n4,x\n").unwrap();
    let engine = Sum::default();
    let error = run(&scoring(&engine, None, OnError::Fail), &input, &output).err().unwrap();
    assert!(matches!(&error, BatchError::Row { bad: BadRow { row: 4, .. }, .. }), "{error}");
    let (done, _) = run(&scoring(&engine, None, OnError::Skip), &input, &output).unwrap();
    assert_eq!(done, Done { rows: 3, skipped: 1 });
    assert_eq!(fs::read_to_string(&output).unwrap(), "sum\n2.5\n4.0\n6.0\n");
}

#[test]
fn files_that_are_no_tables_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Sum::default();
    for (name, bytes) in [("in.parquet", &b"PAR1 no"[..]), ("in.arrow", b"no"), ("in.csv", b""), ("in.csv", b"a,a\n")] {
        let input = folder.path().join(name);
        fs::write(&input, bytes).unwrap();
        let error = run(&scoring(&engine, None, OnError::Skip), &input, &folder.path().join("out.csv")).err().unwrap();
        assert!(matches!(error, BatchError::Read { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_folder_goes_on_where_it_ended_and_belongs_to_one_job() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(input.join("day=1")).unwrap();
    fs::write(input.join("one.csv"), "a,b\n1,1\n").unwrap();
    fs::write(input.join("day=1/two.jsonl"), "{\"a\": 1, \"b\": 2}\n").unwrap();
    fs::write(input.join("_SUCCESS"), "").unwrap();
    let job = json!({"model": "m", "keep": []});
    batch::claim(&output, &job, false).unwrap();
    let pairs = batch::pairs(&input, None, &output, Form::Parquet).unwrap();
    let outputs: Vec<&Path> = pairs.iter().map(|pair| pair.output.strip_prefix(&output).unwrap()).collect();
    assert_eq!(outputs, [Path::new("day=1/two.parquet"), Path::new("one.parquet")]);
    assert!(pairs.iter().all(|pair| !pair.is_finished));
    let engine = Sum::default();
    let signature = two_doubles();
    let scoring = scoring(&engine, Some(&signature), OnError::Fail);
    run(&scoring, &pairs[1].input, &pairs[1].output).unwrap();
    // What a killed run leaves has another name.
    fs::create_dir_all(output.join("day=1")).unwrap();
    fs::write(output.join("day=1/.two.parquet.part"), "half").unwrap();
    batch::claim(&output, &job, false).unwrap();
    let finished: Vec<bool> =
        batch::pairs(&input, None, &output, Form::Parquet).unwrap().iter().map(|pair| pair.is_finished).collect();
    assert_eq!(finished, [false, true]);
    let other = batch::claim(&output, &json!({"model": "other", "keep": []}), false).unwrap_err().to_string();
    assert!(other.contains("model was \"m\", is \"other\""), "{other}");
    batch::claim(&output, &json!({"model": "other", "keep": []}), true).unwrap();
}
