//! Commands on the address of a Runlode server in place of a folder, over http and, through curl, https.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use runlode::{LocalStore, LoggedModelSpec, RunSpec, Stage, VersionSpec};
use serde_json::{Value, json};
use support::{command, done, json, refused, runlode, said};
use tempfile::TempDir;

/// A process whose first line says where it listens.
struct Listening {
    child: Child,
    line: String,
}

impl Listening {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store with a model of three versions and some runs, its server, and the server's address.
fn fixture() -> (TempDir, Listening, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    store.create_registered_model("fraud").unwrap();
    for version in 1..=3 {
        store.create_version("fraud", VersionSpec::from_source(format!("s3://m/{version}"))).unwrap();
    }
    store.set_alias("fraud", "champion", 1).unwrap();
    store.transition_stage("fraud", 1, Stage::Production, false).unwrap();
    let digits = store.get_or_create_experiment("digits").unwrap();
    for number in 0..3 {
        let run = store.create_run(digits, RunSpec::named(format!("trial-{number}"))).unwrap();
        run.log_params(&[("lr", "0.1")]).unwrap();
        run.log_metrics(0, &[("loss", f64::from(number))]).unwrap();
        if number == 0 {
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            for step in 0..150 {
                let value = odd.get(step / 2).copied().unwrap_or((step as f64).sin());
                run.log_metrics(step as i64 * 3 - 5, &[("wave", value)]).unwrap();
            }
            for step in 0..20_000 {
                run.log_metrics(step, &[("long", ((step * 7_919) % 1_000) as f64)]).unwrap();
            }
            let mlp = LoggedModelSpec::named("mlp").model_type("classifier").source_run(run.id());
            store.create_logged_model(digits, mlp).unwrap();
        }
        let files = path.join(format!("artifacts/{digits}/{}/artifacts/deep", run.id()));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("weights é.bin"), vec![number as u8; 300_000]).unwrap();
        std::fs::write(files.join("empty"), "").unwrap();
    }
    store.close().unwrap();
    let text = path.to_str().unwrap();
    let server = Listening::start(&mut command(&["serve", text, "--port", "0", "--no-ui", "--allow-sync", "--json"]));
    let told: Value = serde_json::from_str(&server.line).expect("the server did not start");
    let url = format!("http://{}", told["address"].as_str().unwrap());
    (dir, server, url)
}

#[test]
fn the_registry_of_a_server_is_changed_with_care() {
    let (_dir, _server, url) = &fixture();
    let head = json(&["audit", "head", url, "--json"])["head"].as_str().unwrap().to_owned();
    let position = head.split(':').nth(2).unwrap();
    let promote = |more: &[&str]| said(&runlode(&[&["promote", url], more].concat()));
    let (code, out, error) = promote(&["models:/fraud/2", "--to", "champion", "--if-champion", "3"]);
    assert_eq!(code, Some(1), "{out}{error}");
    assert!(out.contains("is at version 1: nothing changed"), "{out}");
    let (code, out, error) =
        promote(&["models:/fraud/2", "--to", "champion", "--if-champion", "1", "--reason", "CR-1182"]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("is at version 2 now; it was at version 1"), "{out}");
    assert_eq!(promote(&["models:/fraud@champion", "--to", "challenger", "--if-challenger", "none"]).0, Some(0));
    for (arguments, near) in [
        (&["models:/fraud", "--to", "champion"][..], "name a version"),
        (&["models:/fraud/9", "--to", "champion"], "9"),
        (&["trial-1", "--to", "champion"], "names no version"),
    ] {
        let error = refused(&[&["promote", url], arguments].concat());
        assert!(error.contains(near), "{arguments:?}: {error}");
    }

    let planned = json(&["rollback", url, "models:/fraud", "--to-as-of", position, "--plan", "--json"]);
    assert_eq!((planned["changes"].as_array().unwrap().len(), &planned["done"]), (2, &json!(false)));
    done(&["rollback", url, "models:/fraud", "--to-as-of", position, "--reason", "it is slow"]);
    assert_eq!(json(&["show", url, "models:/fraud", "--json"])["aliases"], json!([["champion", 1]]));

    for target in ["trial-1", "models:/fraud/3"] {
        assert_eq!(json(&["pin", url, target, "--reason", "paper", "--json"])["reason_before"], Value::Null);
        let again = json(&["pin", url, target, "--reason", "book", "--json"]);
        assert_eq!(again["reason_before"], "paper");
        assert!(done(&["unpin", url, target]).contains("it was: book"));
        assert_eq!(said(&runlode(&["unpin", url, target])).0, Some(1));
    }
    assert!(refused(&["pin", url, "models:/fraud", "--reason", "x"]).contains("neither a run nor a version"));

    assert!(done(&["audit", "verify", url, "--head", &head]).contains("unchanged"));
    let listed = json(&["audit", "list", url, "--json"]);
    assert!(listed.as_array().unwrap().iter().any(|event| event["event"] == "AliasSet"), "{listed}");
    let other = head.replace(&format!(":{position}:"), ":1:");
    assert_eq!(said(&runlode(&["audit", "verify", url, "--head", &other])).0, Some(1));
}

#[test]
fn a_server_is_read_now_and_as_of_a_moment() {
    let (dir, _server, url) = &fixture();
    let before = json(&["audit", "head", url, "--json"])["position"].to_string();
    done(&["promote", url, "models:/fraud/3", "--to", "champion"]);
    let local = dir.path().join("store");
    done(&["pin", local.to_str().unwrap(), "trial-2", "--reason", "later"]);

    let aliases = |more: &[&str]| json(&[&["models", url, "--json"], more].concat())[0]["aliases"].clone();
    assert_eq!(aliases(&[]), json!([["champion", 3]]));
    assert_eq!(aliases(&["--as-of", &before]), json!([["champion", 1]]));
    let then = json(&["show", url, "models:/fraud", "--as-of", &before, "--json"]);
    assert_eq!((&then["aliases"], then["as_of_position"].to_string()), (&json!([["champion", 1]]), before.clone()));
    assert_eq!(json(&["show", url, "models:/fraud@champion", "--json"])["version"], 3);

    let run = json(&["show", url, "trial-2", "--json"]);
    assert_eq!((&run["name"], &run["metrics"][0]["value"]), (&json!("trial-2"), &json!(2.0)));
    let then = json(&["show", url, "trial-2", "--as-of", &before, "--json"]);
    let pinned = |run: &Value| run["tags"].to_string().contains("runlode.pin");
    assert!(pinned(&run) && !pinned(&then), "{then}");
    assert!(refused(&["show", url, "trial-2", "--as-of", "1"]).contains("at position 1"));
    assert!(done(&["show", url, "trial-2"]).contains("loss"));

    let found = json(&["runs", url, "metrics.loss < 2", "--order", "metrics.loss desc", "--json"]);
    let names: Vec<&Value> = found.as_array().unwrap().iter().map(|run| &run["run_name"]).collect();
    assert_eq!(names, ["trial-1", "trial-0"]);
    assert_eq!((&found[0]["metrics.loss"], &found[0]["params.lr"]), (&json!(1.0), &json!("0.1")));
    let tagged = |more: &[&str]| json(&[&["runs", url, "tags.`runlode.pin` = 'later'", "--json"], more].concat());
    assert_eq!(tagged(&[]).as_array().unwrap().len(), 1);
    assert_eq!(tagged(&["--as-of", &before]), json!([]));
    let csv = done(&["runs", url, "--columns", "run_name,metrics.loss", "--csv", "--order", "metrics.loss"]);
    assert_eq!(csv.lines().take(2).collect::<Vec<_>>(), ["run_name,metrics.loss", "trial-0,0.0"]);
    assert!(done(&["runs", url, "-n", "1"]).contains("(the first 1; more with --limit)"));

    let names = json(&["experiments", url, "--json"]);
    assert!(names.as_array().unwrap().iter().any(|experiment| experiment["name"] == "digits"), "{names}");
    let changes = |more: &[&str]| json(&[&["history", url, "trial-2", "--json"], more].concat());
    assert_eq!(changes(&[]).as_array().unwrap().len(), changes(&["--as-of", &before]).as_array().unwrap().len() + 1);
    assert!(done(&["history", url, "models:/fraud"]).contains("AliasSet"));
    // Commands that read files say so.
    for command in [&["du", url][..], &["top", url, "--once"]] {
        assert!(refused(command).contains(&format!("runlode import {url} ./copy")), "{command:?}");
    }
    for command in ["verify", "doctor", "compact", "gc"] {
        assert!(refused(&[command, url]).contains(&format!("runlode import {url} ./copy")), "{command}");
    }
    assert!(refused(&["show", "s3://bucket/store", "x"]).contains("s3://"));
}

#[test]
fn curves_comparisons_lists_and_the_log_of_a_server_are_those_of_its_folder() {
    let (dir, _server, url) = &fixture();
    let folder = dir.path().join("store");
    let folder = folder.to_str().unwrap();
    let both = |command: &str, more: &[&str]| {
        let of = |place| json(&[&[command, place], more, &["--json"]].concat());
        (of(folder), of(url))
    };
    // Few points come as they are, many in buckets.
    for (key, more) in [("wave", &[][..]), ("long", &["--from", "100", "--to", "250"]), ("loss", &[])] {
        let (here, there) = both("plot", &[&["trial-0", key], more].concat());
        assert_eq!(here, there, "{key}");
        assert!(here["points"].as_u64() > Some(0), "{here}");
    }
    let (mut here, mut there) = both("plot", &["trial-0", "long"]);
    let sums = |plot: &mut Value| -> Vec<f64> {
        let buckets = plot["buckets"].as_array_mut().unwrap().iter_mut();
        buckets.map(|bucket| bucket.as_object_mut().unwrap().remove("sum").unwrap().as_f64().unwrap()).collect()
    };
    for (ours, theirs) in sums(&mut here).into_iter().zip(sums(&mut there)) {
        assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}: a server tells the mean");
    }
    for bucket in here["buckets"].as_array_mut().unwrap() {
        assert!(bucket.as_object_mut().unwrap().remove("first").is_some());
    }
    assert_eq!((here["points"].as_u64(), &here), (Some(20_000), &there));
    let drawn = |place: &str, more: &[&str]| done(&[&["plot", place, "trial-0"], more].concat());
    assert_eq!(drawn(folder, &["trial-1", "loss"]), drawn(url, &["trial-1", "loss"]));
    let chart = dir.path().join("chart.svg");
    let svg = |place: &str| {
        drawn(place, &["wave", "long", "--out", chart.to_str().unwrap()]);
        std::fs::read_to_string(&chart).unwrap()
    };
    assert!(svg(folder) == svg(url), "another chart");
    assert!(refused(&["plot", url, "trial-0", "los"]).contains("did you mean `loss`"));
    assert!(refused(&["plot", url, "models:/fraud", "loss"]).contains("is no run"));

    let (here, there) = both("compare", &["trial-0", "trial-1"]);
    assert_eq!(here, there);
    assert_eq!(done(&["compare", folder, "trial-0", "trial-1"]), done(&["compare", url, "trial-0", "trial-1"]));
    let (here, there) = both("logged-models", &[]);
    assert_eq!((&here[0]["name"], &there[0]["name"]), (&json!("mlp"), &json!("mlp")));
    let columns = ["--csv", "--columns", "model_id,name,experiment,model_type,status,source_run_id,created"];
    for more in [&[][..], &["--experiment", "digits"]] {
        let list = |place: &str| done(&[&["logged-models", place], &columns[..], more].concat());
        assert_eq!(list(folder), list(url));
        assert_eq!(list(url).lines().count(), 2);
    }
    assert_eq!(json(&["logged-models", url, "--experiment", "Default", "--json"]), json!([]));
    assert!(refused(&["logged-models", url, "--experiment", "nowhere"]).contains("nowhere"));

    for form in [&["--json"][..], &["--csv"], &[]] {
        let log = |place: &str| done(&[&["tail", place], form].concat());
        assert_eq!(log(folder), log(url), "{form:?}");
    }
    assert!(done(&["tail", url, "--json"]).lines().count() > 20_000);

    // A moment before a change that the run has seen since.
    let before = json(&["audit", "head", url, "--json"])["position"].to_string();
    done(&["rewind", folder, "trial-0", "--to-step", "50"]);
    let points = |place: &str, more: &[&str]| {
        json(&[&["plot", place, "trial-0", "long", "--json"], more].concat())["points"].as_u64().unwrap()
    };
    for place in [folder, url] {
        assert_eq!((points(place, &[]), points(place, &["--as-of", &before])), (51, 20_000), "{place}");
    }
    let (here, there) = both("compare", &["trial-0", "trial-1", "--as-of", &before]);
    assert_eq!(here, there);
    let (_, there) = both("logged-models", &["--as-of", "1"]);
    assert_eq!(there, json!([]));

    // Whoever follows the server's log sees what comes.
    let mut following = command(&["tail", url, "--follow", "--json", "--from", &before]);
    let mut child = following.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |event: &str| while !lines.next().unwrap().unwrap().contains(event) {};
    until("RunRewound");
    done(&["pin", url, "trial-2", "--reason", "followed"]);
    until("followed");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Ends TLS and passes everything on.
const TLS: &str = r#"
import socket, ssl, sys, threading
to = ("127.0.0.1", int(sys.argv[2]))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(plain):
    try:
        outer = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    inner = socket.create_connection(to)
    threading.Thread(target=copy, args=(outer, inner), daemon=True).start()
    copy(inner, outer)
    outer.close()

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// A server of https before the one at `port`; `None` if there are no programs for it.
fn with_tls(dir: &Path, port: &str) -> Option<(Listening, String)> {
    let program = |name: &str| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if ["curl", "python3"].iter().any(|name| program(name).is_err()) {
        return None;
    }
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]);
    let made = openssl.current_dir(dir).stderr(Stdio::null()).stdout(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        return None;
    }
    let proxy = Listening::start(Command::new("python3").args(["-c", TLS]).arg(dir).arg(port));
    let url = format!("https://127.0.0.1:{}", proxy.line.trim());
    Some((proxy, url))
}

#[test]
fn https_is_read_imported_and_compared_through_curl() {
    let (dir, _server, plain) = &fixture();
    let port = plain.rsplit(':').next().unwrap();
    let Some((_proxy, url)) = with_tls(dir.path(), port) else {
        println!("left out: curl, python3 or openssl is missing");
        return;
    };
    let url = url.as_str();
    let trusting = |arguments: &[&str]| {
        let cert = dir.path().join("cert.pem");
        said(&command(arguments).env("MLFLOW_TRACKING_SERVER_CERT_PATH", cert).output().unwrap())
    };
    assert!(refused(&["show", url, "models:/fraud"]).contains("certificate"), "nobody vouches for the server");
    let (code, out, error) = trusting(&["promote", url, "models:/fraud/2", "--to", "champion", "--if-champion", "1"]);
    assert_eq!(code, Some(0), "{out}{error}");

    let copy = dir.path().join("copy");
    let copy = copy.to_str().unwrap();
    let (code, out, error) = trusting(&["import", url, copy, "--json"]);
    assert_eq!(code, Some(0), "{out}{error}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["imported"]["artifact_files"], &report["artifact_files_new"]), (&json!(6), &json!(6)));
    let (code, out, error) = trusting(&["diff", url, copy]);
    assert_eq!(code, Some(0), "{out}{error}");
    let (_, out, _) = trusting(&["import", url, copy, "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["batches_new"], &report["artifact_files_new"]), (&json!(0), &json!(0)));
    let (code, _, error) = trusting(&["import", url, copy, "--no-artifacts"]);
    assert_eq!(code, Some(0), "{error}");
    let list = std::fs::read_to_string(Path::new(copy).join("artifacts/imported.sha256")).unwrap();
    assert_eq!(list.lines().count(), 6);

    // Bytes go up as they are: points, and artifacts larger than what is kept in memory of a call.
    let offline = dir.path().join("offline");
    let store = LocalStore::open(&offline).unwrap();
    let digits = store.get_or_create_experiment("digits").unwrap();
    let run = store.create_run(digits, RunSpec::named("from afar")).unwrap();
    run.log_metrics(0, &[("loss", 0.25)]).unwrap();
    let folder = offline.join(format!("artifacts/{digits}/{}/artifacts", run.id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("weights.bin"), vec![7; 3_000_000]).unwrap();
    let id = run.id().to_string();
    store.close().unwrap();
    let (code, out, error) = trusting(&["sync", offline.to_str().unwrap(), url, "--json"]);
    assert_eq!(code, Some(0), "{out}{error}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["points"], &report["artifact_files"]), (&json!(1), &json!(1)), "{report}");
    let experiments = std::fs::read_dir(dir.path().join("store/artifacts")).unwrap();
    let uploaded = experiments.map(|folder| folder.unwrap().path().join(&id).join("artifacts/weights.bin"));
    assert_eq!(uploaded.filter_map(|path| std::fs::read(path).ok()).next().unwrap(), vec![7; 3_000_000]);
}
