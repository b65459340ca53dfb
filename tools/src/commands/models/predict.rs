//! `runlode models predict URI -i FILE|FOLDER|- -o FILE|FOLDER`
//!
//! With `-t json|csv`, as `mlflow models predict`: one small input, and the answer as MLflow's JSON. Otherwise files of any
//! length, in batches.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use runlode_models::enforce;
use runlode_models::file::ModelFile;
use runlode_models::json as model_json;
use runlode_serving::Model;
use runlode_serving::batch::{self, BadRow, BatchError, Done, Form, OnError, Pair, Scoring, Source, Target, Watch};
use runlode_serving::server::answer_once;
use serde_json::json;

use crate::Answer;
use crate::commands::models::serve::environment::Environment;
use crate::commands::models::serve::load::{Wanted, load};
use crate::commands::models::serve::place::Place;
use crate::commands::models::serve::resolve;
use crate::commands::models::source::needs_store;
use crate::error::{Error, Result};
use crate::format;
use crate::output::{Output, note};
use crate::progress::Bar;

/// Rows predicted at once where nothing is said: enough that a call costs nothing beside them.
const BATCH_ROWS: &str = "16384";
/// How long a prediction waits for a process of the model.
const READY_WAIT: Duration = Duration::from_secs(60);
/// Rows left out that are told one by one; the rest are counted.
const TOLD_MAX: u64 = 20;

/// Arguments of `models predict`.
#[derive(Debug, Args)]
pub struct Predict {
    /// The model: a folder
    #[arg(value_name = "URI", required_unless_present = "model_uri")]
    uri: Option<String>,
    /// The same, as MLflow has it
    #[arg(long, short, value_name = "URI", conflicts_with = "uri")]
    model_uri: Option<String>,
    /// File, folder of files, or `-` for standard input
    #[arg(long, short, value_name = "PATH", default_value = "-")]
    input_path: PathBuf,
    /// File or folder of the answers; `-` is standard output
    #[arg(long, short, value_name = "PATH", default_value = "-")]
    output_path: PathBuf,
    /// One small input, answered as `mlflow models predict` does: a body of JSON, or CSV
    #[arg(long, short = 't', value_enum, value_name = "TYPE", conflicts_with_all = ["from", "to"])]
    content_type: Option<ContentType>,
    /// Form of the input: csv, jsonl, parquet, arrow [default: by the file's ending]
    #[arg(long, value_name = "FORM", value_parser = form)]
    from: Option<Form>,
    /// Form of the output: csv, jsonl, parquet, arrow [default: by the file's ending; jsonl to standard output]
    #[arg(long, value_name = "FORM", value_parser = form)]
    to: Option<Form>,
    /// Rows predicted at once
    #[arg(long, value_name = "N", default_value = BATCH_ROWS, value_parser = clap::value_parser!(u32).range(1..))]
    batch_rows: u32,
    /// Predictions at the same time [default: the machine's cores for ONNX, 1 for others]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// What to do with a row that cannot be read, cast or predicted
    #[arg(long, value_enum, default_value_t = Policy::Fail)]
    on_error: Policy,
    /// Write the rows that are left out to a file: a line of JSON for each
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Columns of the input to write beside the answers
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    keep: Vec<String>,
    /// Parameters of the model, as an object of JSON
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// Score finished files of a folder again
    #[arg(long)]
    overwrite: bool,
    /// Store where models:/ and runs:/ are looked up [default: MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    environment: Environment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ContentType {
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// End with an error that names it
    Fail,
    /// Leave it out, and report it
    Skip,
}

fn form(name: &str) -> std::result::Result<Form, String> {
    Form::of_name(name).ok_or_else(|| "the forms are csv, jsonl, parquet and arrow".into())
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::ClosedPipe => Self::Output(std::io::ErrorKind::BrokenPipe.into()),
            error => Self::Source(error.to_string()),
        }
    }
}

impl Predict {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let uri = self.uri.as_ref().or(self.model_uri.as_ref()).map_or("", String::as_str);
        let folder = self.model_folder(uri)?;
        let is_small = self.content_type.is_some() || (self.from.is_none() && self.to.is_none() && self.is_body());
        if is_small {
            return self.small(&self.load(&folder, uri, 1, None)?);
        }
        let file = ModelFile::read(&folder).map_err(|error| Error::usage(format!("{uri}: {error}")))?;
        // Predictions in this process take its cores; a model's own process has threads of its own.
        let is_here = file.onnx.is_some() && self.environment.takes_onnx();
        let workers = self.workers.map_or(if is_here { cores() } else { 1 }, usize::from);
        let threads = if workers > 1 { Some(1) } else { None };
        let model = self.load(&folder, uri, workers, threads)?;
        let params = self.params(&model)?;
        let scoring = Scoring {
            engine: &*model.engine,
            signature: model.signature.as_ref().filter(|_| !model.is_by_type_hint),
            params: params.as_deref(),
            batch_rows: self.batch_rows as usize,
            // A model's process receives rows while it predicts on others.
            workers: if is_here { workers } else { workers * 2 },
            on_error: match self.on_error {
                Policy::Fail => OnError::Fail,
                Policy::Skip => OnError::Skip,
            },
            carried: &self.keep,
        };
        let mut watch = Told::new(self.errors.as_deref())?;
        let done = if self.input_path.is_dir() {
            self.folder(uri, &scoring, &mut watch)?
        } else {
            vec![self.file(&scoring, &mut watch)?]
        };
        watch.finish()?;
        self.tell(output, &done)
    }

    /// The folder that the URI leads to.
    fn model_folder(&self, uri: &str) -> Result<PathBuf> {
        let mut place = None;
        if needs_store(uri) {
            let named = self.store.clone().or_else(|| std::env::var("MLFLOW_TRACKING_URI").ok());
            let named = named
                .ok_or_else(|| Error::usage(format!("{uri} is looked up in a store; name its folder with --store")))?;
            place = Some(Place::open(&named)?);
        }
        Ok(resolve::find(place.as_ref(), uri)?.folder)
    }

    fn load(&self, folder: &Path, uri: &str, processes_count: usize, onnx_threads: Option<usize>) -> Result<Model> {
        let environment = self.environment.clone();
        load(
            folder,
            uri,
            &Wanted { environment, processes_count, one_at_a_time: true, ready_wait: READY_WAIT, onnx_threads },
        )
    }

    /// Whether input and output are what MLflow's command takes and gives.
    fn is_body(&self) -> bool {
        let is_json = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let is_dash = |path: &Path| path == Path::new("-");
        (is_json(&self.input_path) || is_dash(&self.input_path))
            && (is_json(&self.output_path) || is_dash(&self.output_path))
    }

    /// One small input as MLflow answers it.
    fn small(&self, model: &Model) -> Result<Answer> {
        let is_stdin = self.input_path == Path::new("-");
        let cannot = |error| Error::io(format!("cannot read {}", self.input_path.display()), error);
        let body = if is_stdin {
            let mut body = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut body).map_err(cannot)?;
            body
        } else {
            std::fs::read(&self.input_path).map_err(cannot)?
        };
        let text =
            answer_once(model, body.into(), self.content_type == Some(ContentType::Csv)).map_err(Error::Source)?;
        if self.output_path == Path::new("-") {
            let mut out = std::io::stdout().lock();
            out.write_all(&text).and_then(|()| out.flush())?;
        } else {
            let path = &self.output_path;
            std::fs::write(path, text).map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        }
        Ok(Answer::Yes)
    }

    fn params(&self, model: &Model) -> Result<Option<Vec<(String, runlode_models::Value)>>> {
        let given = match &self.params {
            None => None,
            Some(text) => Some(
                model_json::from_str(text).map_err(|error| Error::usage(format!("--params is no JSON: {error}")))?,
            ),
        };
        let schema = model.signature.as_ref().and_then(|signature| signature.params.as_ref());
        enforce::params(given, schema).map_err(|error| Error::usage(format!("--params: {error}")))
    }

    fn target_form(&self) -> Result<Form> {
        if self.output_path == Path::new("-") {
            return Ok(self.to.unwrap_or(Form::JsonLines));
        }
        Ok(Form::known(self.to, &self.output_path, "--to")?)
    }

    fn file(&self, scoring: &Scoring<'_>, watch: &mut Told) -> Result<Done> {
        let (source, form) = if self.input_path == Path::new("-") {
            let form = self.from.ok_or_else(|| {
                Error::usage("say the form of standard input: `--from csv|jsonl|parquet|arrow`, or `-t json|csv` as MLflow has it")
            })?;
            (Source::Stdin, form)
        } else {
            let form = Form::known(self.from, &self.input_path, "--from")?;
            (Source::File(self.input_path.clone()), form)
        };
        let target = match self.output_path == Path::new("-") {
            true => Target::Stdout,
            false => Target::File(self.output_path.clone()),
        };
        Ok(batch::score(scoring, &source, form, &target, self.target_form()?, watch)?)
    }

    fn folder(&self, uri: &str, scoring: &Scoring<'_>, watch: &mut Told) -> Result<Vec<Done>> {
        if self.output_path == Path::new("-") {
            return Err(Error::usage("the answers to a folder of files go to a folder: name it with -o"));
        }
        let form = self.to.unwrap_or(Form::Parquet);
        // What makes answers other answers; the number of workers does not.
        let job = json!({
            "model": uri, "params": self.params, "keep": self.keep, "form": form.name(),
            "on_error": if self.on_error == Policy::Skip { "skip" } else { "fail" },
        });
        batch::claim(&self.output_path, &job, self.overwrite)?;
        let pairs = batch::pairs(&self.input_path, self.from, &self.output_path, form)?;
        if pairs.is_empty() {
            return Err(Error::usage(format!("{} has no files", self.input_path.display())));
        }
        let (finished, open): (Vec<Pair>, Vec<Pair>) =
            pairs.into_iter().partition(|pair| pair.is_finished && !self.overwrite);
        if !finished.is_empty() {
            note(format!("{} files are finished already", finished.len()));
        }
        let mut all = Vec::with_capacity(open.len());
        for pair in open {
            if let Some(folder) = pair.output.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
            }
            let (source, target) = (Source::File(pair.input), Target::File(pair.output));
            all.push(batch::score(scoring, &source, pair.form, &target, form, watch)?);
        }
        Ok(all)
    }

    fn tell(&self, output: &mut Output, done: &[Done]) -> Result<Answer> {
        let rows = done.iter().map(|done| done.rows).sum::<u64>();
        let skipped = done.iter().map(|done| done.skipped).sum::<u64>();
        let answer = if skipped == 0 { Answer::Yes } else { Answer::No };
        // Standard output has the answers.
        if self.output_path == Path::new("-") {
            if skipped > 0 {
                note(format!("{} rows left out", format::count(skipped)));
            }
            return Ok(answer);
        }
        if output.is_json() {
            output.document(&json!({ "files": done.len(), "rows": rows, "skipped": skipped }))?;
        } else {
            let left_out = if skipped > 0 { format!(", {} left out", format::count(skipped)) } else { String::new() };
            output.line(format!("{} rows{left_out}.", format::count(rows)))?;
        }
        Ok(answer)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tells of progress on a terminal, and of rows that are left out.
struct Told {
    bar: Bar,
    told: u64,
    errors: Option<(BufWriter<File>, PathBuf)>,
}

impl Told {
    fn new(errors: Option<&Path>) -> Result<Self> {
        let errors = match errors {
            None => None,
            Some(path) => {
                let file =
                    File::create(path).map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
                Some((BufWriter::new(file), path.to_path_buf()))
            }
        };
        Ok(Self { bar: Bar::new("rows"), told: 0, errors })
    }

    fn finish(self) -> Result<()> {
        let Some((mut file, path)) = self.errors else { return Ok(()) };
        file.flush().map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
    }
}

impl Watch for Told {
    fn progress(&mut self, rows: u64, total: Option<u64>) {
        self.bar.set("rows", rows, total.unwrap_or(0));
    }

    fn skipped(&mut self, path: &str, bad: &BadRow) -> std::result::Result<(), BatchError> {
        if let Some((file, name)) = &mut self.errors {
            let line = json!({ "file": path, "row": bad.row, "line": bad.line, "column": bad.column, "why": bad.why });
            return writeln!(file, "{line}")
                .map_err(|error| BatchError::Write { path: name.display().to_string(), why: error.to_string() });
        }
        self.told += 1;
        match self.told {
            ..=TOLD_MAX => note(format!("{path}: {bad}: left out")),
            told if told == TOLD_MAX + 1 => note("more rows are left out; `--errors FILE` lists all of them"),
            _ => {}
        }
        Ok(())
    }
}
