//! `--memory-mib` bounds the process: its peak stays within one and a half times this value, whatever clients send and
//! ask for.
//!
//! The server is this binary, of the same build as the tests. Each attack runs on it alone, in a short form; the peak
//! is `VmHWM` of `/proc/PID/status`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";
const MEMORY_MIB: u64 = 128;
const PEAK_MIB_MAX: u64 = MEMORY_MIB * 3 / 2;
const API: &str = "/api/2.0/mlflow/";

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_list = arguments.iter().any(|argument| argument == "--list");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = 0;
    for (name, attack) in ATTACKS {
        if is_list {
            println!("{name}: test");
        } else if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            let begin = Instant::now();
            let dir = tempfile::tempdir().expect("a folder");
            let server = Server::start(dir.path());
            let outcome = std::panic::catch_unwind(|| attack(&server));
            let (now, peak) = (server.memory_mib("VmRSS"), server.memory_mib("VmHWM"));
            let is_ok = outcome.is_ok() && peak <= PEAK_MIB_MAX;
            failed += usize::from(!is_ok);
            let word = if is_ok { "ok" } else { "FAILED" };
            println!("test {name} ... {word} (peak {peak} MiB, then {now}; {:.1} s)", begin.elapsed().as_secs_f64());
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

type Attack = fn(&Server);

const ATTACKS: &[(&str, Attack)] = &[
    ("bodies_of_many_small_values", bodies_of_many_small_values),
    ("large_bodies_side_by_side", large_bodies_side_by_side),
    ("small_bodies_side_by_side", small_bodies_side_by_side),
    ("keys_of_a_run_that_is_not_there", keys_of_a_run_that_is_not_there),
    ("histories_that_nobody_takes", histories_that_nobody_takes),
    ("one_run_asked_for_a_hundred_times", one_run_asked_for_a_hundred_times),
    ("searches_that_nobody_takes", searches_that_nobody_takes),
    ("heads_that_do_not_end", heads_that_do_not_end),
    ("large_inputs", large_inputs),
    ("files_that_nobody_takes", files_that_nobody_takes),
    ("tables_of_long_texts", tables_of_long_texts),
    ("curves_without_end", curves_without_end),
    ("tags_of_one_run_one_by_one", tags_of_one_run_one_by_one),
    ("searches_of_long_texts", searches_of_long_texts),
];

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let me = std::env::current_exe().expect("this binary");
        let mut command = Command::new(me);
        command.env(AS_COMMAND, "1").arg("--json").arg("serve").arg(dir.join("store"));
        command.args(["--port", "0", "--no-ui", "--memory-mib", &MEMORY_MIB.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = said["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        Self { child, address }
    }

    fn memory_mib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(50))).expect("a timeout");
        stream
    }

    fn send(&self, stream: &mut TcpStream, method: &str, path: &str, body: &[u8]) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // A refusal may come, and the connection go, before all is sent.
        let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        self.send(&mut stream, method, path, body);
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut length = 0;
        while reader.read_line(&mut line).is_ok() {
            let header = line.rsplit("\r\n").nth(1).unwrap_or_default().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if header.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).expect("a whole answer");
        (status, answer)
    }

    fn post(&self, call: &str, body: &str) -> (u16, Value) {
        let (status, answer) = self.ask("POST", &format!("{API}{call}"), body.as_bytes());
        (status, serde_json::from_slice(&answer).expect("JSON"))
    }

    fn run(&self) -> String {
        let (status, answer) = self.post("runs/create", "{}");
        assert_eq!(status, 200, "{answer}");
        answer["run"]["info"]["run_id"].as_str().expect("an id").to_owned()
    }

    /// Points of one metric, in batches of a thousand.
    fn log(&self, run: &str, batches: usize) {
        for batch in 0..batches {
            let metrics: Vec<Value> = (batch * 1000..(batch + 1) * 1000)
                .map(
                    |step| json!({ "key": "m", "value": 0.123_456_789 * step as f64, "timestamp": step, "step": step }),
                )
                .collect();
            let (status, answer) =
                self.post("runs/log-batch", &json!({ "run_id": run, "metrics": metrics }).to_string());
            assert_eq!(status, 200, "{answer}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn bodies_of_many_small_values(server: &Server) {
    let run = server.run();
    let calls = [
        (
            "runs/log-inputs",
            format!("{{\"run_id\":\"{run}\",\"datasets\":[{}{{}}]}}", "{\"tags\":[{},{},{}]},".repeat(700_000)),
        ),
        ("runs/log-inputs", format!("{{\"datasets\":[{}", "{\"a\":1},".repeat(1_500_000))),
        ("runs/log-batch", format!("{{\"run_id\":\"{run}\",\"tags\":[{}{{}}]}}", "{\"a\":1},".repeat(2_000_000))),
        (
            "runs/log-batch",
            format!("{{{}\"x\":1}}", (0..1_200_000).map(|i| format!("\"{i:x}\":1,")).collect::<String>()),
        ),
        ("runs/log-metric", format!("{{\"run_id\":{}", "[".repeat(15_000_000))),
        ("runs/search", format!("{{\"experiment_ids\":[{}0]}}", "0,".repeat(8_000_000))),
        ("experiments/create", format!("\"{}\"", "\\u0022a".repeat(2_000_000))),
        ("runs/log-model", format!("{{\"run_id\":\"{run}\",\"model_json\":\"[{}1]\"}}", "1,".repeat(7_000_000))),
    ];
    for (call, body) in calls {
        let (status, answer) = server.post(call, &body);
        assert!((400..500).contains(&status), "{call}: {status} {answer}");
        assert!(answer["error_code"].is_string() && answer["message"].is_string(), "{call}: {answer}");
    }
}

/// The same request from many clients at once.
fn side_by_side(server: &Server, clients: usize, call: &str, body: &str) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let (status, _) = server.post(call, body);
                assert!((400..500).contains(&status) || status == 503, "{status}");
            });
        }
    });
}

fn large_bodies_side_by_side(server: &Server) {
    let body = format!("{{\"run_id\":\"{}\",\"tags\":[{}{{}}]}}", server.run(), "{\"a\":1},".repeat(1_100_000));
    side_by_side(server, 12, "runs/log-batch", &body);
}

fn small_bodies_side_by_side(server: &Server) {
    // Each is as large as it can be without being counted too large.
    let body = format!("{{\"run_id\":\"{}\",\"tags\":[{}{{}}]}}", server.run(), "{\"\":1},".repeat(48_000));
    side_by_side(server, 64, "runs/log-batch", &body);
}

fn keys_of_a_run_that_is_not_there(server: &Server) {
    let (mut first, long) = (0, "x".repeat(230));
    for batch in 0..100 {
        let metrics: Vec<Value> =
            (0..1000).map(|i| json!({ "key": format!("k{batch}_{i}{long}"), "value": 1, "timestamp": 1 })).collect();
        let body = json!({ "run_id": format!("{batch:032x}"), "metrics": metrics }).to_string();
        let (status, answer) = server.post("runs/log-batch", &body);
        assert_eq!(status, 404, "{answer}");
        if batch == 20 {
            first = server.memory_mib("VmRSS");
        }
    }
    // 80,000 keys of 240 bytes: 30 MiB, if they were kept.
    let last = server.memory_mib("VmRSS");
    assert!(last < first + 10, "{first} MiB, then {last}");
}

/// Clients that ask, and take nothing of the answer.
fn untaken(server: &Server, clients: usize, method: &str, path: &str, body: &str) -> Vec<TcpStream> {
    let streams: Vec<TcpStream> = (0..clients)
        .map(|_| {
            let mut stream = server.connect();
            server.send(&mut stream, method, path, body.as_bytes());
            stream
        })
        .collect();
    // Each has been answered when its first byte is there.
    for stream in &streams {
        stream.peek(&mut [0]).expect("an answer");
    }
    streams
}

fn histories_that_nobody_takes(server: &Server) {
    let run = server.run();
    server.log(&run, 200);
    let path = format!("{API}metrics/get-history?run_id={run}&metric_key=m");
    let _streams = untaken(server, 40, "GET", &path, "");
    // Who takes it gets all.
    let (status, answer) = server.ask("GET", &path, b"");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(status, 200);
    let metrics = answer["metrics"].as_array().expect("points");
    assert_eq!(metrics.len(), 200_000);
    assert!(metrics.iter().enumerate().all(|(at, metric)| metric["step"] == at));
}

fn one_run_asked_for_a_hundred_times(server: &Server) {
    let run = server.run();
    server.log(&run, 200);
    let ids = format!("&run_ids={run}").repeat(100);
    let path = format!("{API}metrics/get-history-bulk-interval?metric_key=m{ids}");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (status, answer) = server.ask("GET", &path, b"");
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                assert_eq!(status, 200);
                // Each mention is thinned for itself, to as many points as a chart gets by default.
                assert_eq!(answer["metrics"].as_array().expect("points").len(), 100 * 2_500);
            });
        }
    });
}

fn searches_that_nobody_takes(server: &Server) {
    let tags: Vec<Value> = (0..100).map(|i| json!({ "key": format!("t{i}"), "value": "v".repeat(500) })).collect();
    let body = json!({ "tags": tags }).to_string();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(server.post("runs/create", &body).0, 200)));
        }
    });
    let body = json!({ "experiment_ids": ["0"], "max_results": 50_000 }).to_string();
    let _streams = untaken(server, 20, "POST", &format!("{API}runs/search"), &body);
}

fn heads_that_do_not_end(server: &Server) {
    let head = format!("GET {API}runs/get?run_id=x HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(30_000));
    let streams: Vec<TcpStream> = (0..900)
        .map(|_| {
            let mut stream = server.connect();
            let _sent = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    // The server still answers.
    assert_eq!(server.ask("GET", "/health", b"").0, 200);
    drop(streams);
}

fn large_inputs(server: &Server) {
    let run = server.run();
    let dataset = json!({
        "name": "d", "digest": "1", "source_type": "local", "source": "s", "profile": "\"p\"".repeat(3_000_000),
    });
    let body = json!({ "run_id": run, "datasets": [{ "dataset": dataset }] }).to_string();
    for _ in 0..3 {
        let (status, answer) = server.post("runs/log-inputs", &body);
        assert_eq!(status, 200, "{answer}");
    }
}

fn files_that_nobody_takes(server: &Server) {
    let path = "/api/2.0/mlflow-artifacts/artifacts/large";
    assert_eq!(server.ask("PUT", path, &vec![7; 20 << 20]).0, 200);
    let _streams = untaken(server, 400, "GET", path, "");
}

/// Several clients ask for something large at the same time: at least one gets it, the others may be told to wait.
fn all_at_once(server: &Server, method: &str, path: &str, body: &str) {
    let ask = || server.ask(method, path, body.as_bytes()).0;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    });
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(ask(), 200);
}

fn tables_of_long_texts(server: &Server) {
    let text = "x".repeat(5_000);
    let mut columns = String::new();
    for run in 0..400 {
        let id = server.run();
        let tags: Vec<Value> = (0..20).map(|tag| json!({ "key": format!("t{tag}"), "value": text })).collect();
        let (status, answer) = server.post("runs/log-batch", &json!({ "run_id": id, "tags": tags }).to_string());
        assert_eq!(status, 200, "{answer}");
        columns.push_str(&if run < 20 { format!("&column=tags.t{run}") } else { String::new() });
    }
    let table = |limit: u32| format!("/api/runlode/v1/runs?experiment_id=0&limit={limit}{columns}");
    all_at_once(server, "GET", &table(250), "");
    // More than there is room for, even alone.
    let (status, answer) = server.ask("GET", &table(400), b"");
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&answer));
}

fn curves_without_end(server: &Server) {
    let run = server.run();
    server.log(&run, 8);
    let curves = |count: usize| {
        let series = vec![json!({ "run_id": run, "key": "m" }); count];
        json!({ "series": series, "buckets": 500 }).to_string()
    };
    all_at_once(server, "POST", "/api/runlode/v1/curves", &curves(800));
    let (status, answer) = server.ask("POST", "/api/runlode/v1/curves", curves(8_000).as_bytes());
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&answer));
}

/// Each change of a run is a new state of it, as large as all its tags.
fn tags_of_one_run_one_by_one(server: &Server) {
    let run = server.run();
    let value = "x".repeat(2_000);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (run, value) = (&run, &value);
            scope.spawn(move || {
                for tag in 0..600 {
                    let body = json!({ "run_id": run, "key": format!("t{client}.{tag}"), "value": value });
                    let (status, answer) = server.post("runs/set-tag", &body.to_string());
                    assert_eq!(status, 200, "{answer}");
                }
            });
        }
    });
    let (status, answer) = server.ask("GET", &format!("{API}runs/get?run_id={run}"), b"");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    let tags = answer["run"]["data"]["tags"].as_array().map_or(0, Vec::len);
    // The run's name is a tag too.
    assert_eq!((status, tags), (200, 4 * 600 + 1), "{answer}");
}

/// Columns of all tags would be larger than the whole budget.
fn searches_of_long_texts(server: &Server) {
    for run in 0..1_500 {
        let id = server.run();
        let text = |tag: usize| format!("{}{}", (run * 7 + tag) % 1_500, "x".repeat(5_000));
        let tags: Vec<Value> = (0..20).map(|tag| json!({ "key": format!("t{tag}"), "value": text(tag) })).collect();
        let (status, answer) = server.post("runs/log-batch", &json!({ "run_id": id, "tags": tags }).to_string());
        assert_eq!(status, 200, "{answer}");
    }
    for query in [
        json!({ "order_by": ["tags.t1 DESC"] }),
        json!({ "filter": "tags.t2 LIKE '7xx%'", "order_by": ["tags.t3"] }),
        json!({ "order_by": ["attributes.run_name"] }),
    ] {
        let mut body = query.clone();
        body["experiment_ids"] = json!(["0"]);
        body["max_results"] = json!(3);
        let (status, answer) = server.post("runs/search", &body.to_string());
        let found = answer["runs"].as_array().map_or(0, Vec::len);
        let right = if query["filter"].is_null() { 3 } else { 1 };
        assert_eq!((status, found), (200, right), "{query}");
        if query["order_by"][0] == "tags.t1 DESC" {
            let tags = answer["runs"][0]["data"]["tags"].as_array().expect("tags");
            let first = tags.iter().find(|tag| tag["key"] == "t1").and_then(|tag| tag["value"].as_str());
            assert!(first.is_some_and(|text| text.starts_with("9xx")), "{query}");
        }
    }
}
