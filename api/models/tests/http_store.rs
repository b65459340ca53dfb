//! A store behind HTTP: what is asked of a server, and what is made of its answers, whatever they are.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use runlode_models::uri::{Cache, HttpStore, Method, ModelStore, Owner, Place, UriError, Which, locate};
use serde_json::{Value, json};

/// Answers to a request by its method, path and body: status, headers, body.
type Answers = dyn Fn(&str, &str, &str) -> (u16, String, Vec<u8>) + Send + Sync;

/// A server with prepared answers. It closes each connection after one request.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn server(answers: impl Fn(&str, &str, &str) -> (u16, String, Vec<u8>) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, answers): (_, Arc<Answers>) = (asked.clone(), Arc::new(answers));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let (method, path) = line.trim_end_matches(" HTTP/1.1\r\n").split_once(' ').unwrap();
            let (method, path) = (method.to_owned(), path.to_owned());
            let mut length = 0;
            loop {
                let mut header = String::new();
                stream.read_line(&mut header).unwrap();
                if header == "\r\n" {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            seen.lock().unwrap().push(format!("{method} {path} {body}").trim_end().to_owned());
            let (status, headers, answer) = answers(&method, &path, &body);
            let head = format!(
                "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
                answer.len()
            );
            // A client that has seen enough closes the connection.
            let _ = stream.get_mut().write_all(head.as_bytes()).and_then(|()| stream.get_mut().write_all(&answer));
        }
    });
    Server { url, asked }
}

impl Server {
    fn store(&self) -> HttpStore {
        HttpStore::new(&self.url).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn ok(json: &Value) -> (u16, String, Vec<u8>) {
    (200, String::new(), json.to_string().into_bytes())
}

fn version(number: &str, more: &Value) -> Value {
    let mut version = json!({ "name": "a b", "version": number, "status": "READY", "source": "s", "run_id": "" });
    version.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    version
}

#[test]
fn a_version_is_asked_for_by_number_alias_stage_and_age() {
    let server = server(|_, path, body| {
        if path.contains("get-download-uri") {
            return ok(&json!({ "artifact_uri": "mlflow-artifacts:/1/place" }));
        }
        if path.contains("get-latest-versions") {
            let all = [version("9", &json!({})), version("10", &json!({ "current_stage": "Production" }))];
            let wanted = if body.contains("Nowhere") { &all[..0] } else { &all[..] };
            return ok(&json!({ "model_versions": wanted }));
        }
        ok(&json!({ "model_version": version("7", &json!({ "aliases": ["x/y"], "model_id": "m-1" })) }))
    });
    let store = server.store();
    let found = store.version("a b", &Which::Number("7".into())).unwrap();
    assert_eq!((found.version.as_str(), found.place.as_str()), ("7", "mlflow-artifacts:/1/place"));
    assert_eq!((found.run_id, found.model_id.as_deref(), found.aliases), (None, Some("m-1"), vec!["x/y".to_owned()]));
    store.version("a b", &Which::Alias("x/y".into())).unwrap();
    assert_eq!(store.version("a b", &Which::Latest).unwrap().version, "10");
    let stage = store.version("a b", &Which::Stage("Production".into())).unwrap();
    assert_eq!(stage.stage.as_deref(), Some("Production"));
    let absent = store.version("a b", &Which::Stage("Nowhere".into())).unwrap_err();
    assert_eq!(absent.to_string(), "a b has no version in the stage Nowhere");
    let asked = server.asked();
    let starts = [
        "GET /api/2.0/mlflow/model-versions/get?name=a%20b&version=7",
        "GET /api/2.0/mlflow/model-versions/get-download-uri?name=a%20b&version=7",
        "GET /api/2.0/mlflow/registered-models/alias?name=a%20b&alias=x%2Fy",
    ];
    assert!(starts.iter().all(|start| asked.contains(&(*start).to_owned())), "{asked:#?}");
    assert!(asked.iter().any(|line| line.ends_with(r#"get-latest-versions {"name":"a b","stages":["Production"]}"#)));
}

#[test]
fn files_are_listed_over_pages_and_folders_and_fetched_once() {
    let server = server(|_, path, _| {
        let file = |name: &str, bytes: u64| json!({ "path": name, "is_dir": false, "file_size": bytes });
        if path.contains("/artifacts/files?") {
            let text = if path.ends_with("MLmodel") { "flavors: {}\n" } else { "x" };
            return (200, String::new(), text.into());
        }
        if path.contains("directories") && path.ends_with("artifact_directory_path=") {
            return ok(
                &json!({ "files": [file("MLmodel", 12), { "path": "code", "is_dir": true }], "next_page_token": "2" }),
            );
        }
        if path.contains("directories") && path.contains("page_token=2") {
            // The last token again: the end.
            return ok(&json!({ "files": [file("data ä.bin", 1)], "next_page_token": "2" }));
        }
        if path.contains("directories") {
            return ok(&json!({ "files": [file("code/m.py", 1)] }));
        }
        ok(&json!({ "model": { "info": {
            "model_id": "m-0123456789abcdef0123456789abcdef", "name": "net", "artifact_uri": "s3://b/m",
            "source_run_id": "r", "status": "LOGGED_MODEL_READY",
        } } }))
    });
    let store = server.store();
    let located = locate(&"models:/m-0123456789abcdef0123456789abcdef".parse().unwrap(), &store).unwrap();
    assert_eq!(located.run_id.as_deref(), Some("r"));
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path());
    let fetched = cache.fetch(&located, &store).unwrap();
    let read = |name: &str| std::fs::read_to_string(fetched.folder.join(name)).unwrap();
    assert_eq!(
        (read("MLmodel").as_str(), read("data ä.bin").as_str(), read("code/m.py").as_str()),
        ("flavors: {}\n", "x", "x")
    );
    let asked = server.asked();
    assert!(
        asked.iter().any(|line| line.ends_with("artifacts/files?artifact_file_path=data%20%C3%A4.bin")),
        "{asked:#?}"
    );
}

#[test]
fn names_that_lead_out_of_the_folder_write_nothing() {
    for name in ["..", "a/../../b", "/etc/x", "a\\b\u{0}"] {
        let server = server(move |_, path, _| {
            if path.contains("artifacts/list") {
                return ok(
                    &json!({ "files": [{ "path": "MLmodel", "file_size": 2 }, { "path": name, "file_size": 1 }] }),
                );
            }
            if path.contains("get-artifact") {
                return (200, String::new(), b"{}".to_vec());
            }
            ok(&json!({ "run": { "info": { "artifact_uri": "s3://b/r", "experiment_id": "1" } }, "models": [] }))
        });
        let store = server.store();
        let located = locate(&"runs:/0123456789abcdef0123456789abcdef/model".parse().unwrap(), &store).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("deep/cache");
        let fetched = Cache::new(&cache).fetch(&located, &store);
        // A last part that is a plain name is one: servers name files by paths below other roots.
        if let Ok(fetched) = fetched {
            assert!(fetched.folder.starts_with(&cache), "{name:?}");
        }
        let outside: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(outside.is_empty() || outside == ["deep"], "{name:?}: {outside:?}");
        assert!(!folder.path().join("deep/b").exists());
    }
}

#[test]
fn refusals_say_what_the_server_said() {
    let server = server(|method, path, _| match path.rsplit('/').next().unwrap() {
        "absent" => {
            let json = json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing" });
            (404, String::new(), json.to_string().into_bytes())
        }
        "page" => (404, String::new(), b"<html>not MLflow</html>".to_vec()),
        "busy" => {
            (503, String::new(), b"{\"error_code\": \"TEMPORARILY_UNAVAILABLE\", \"message\": \"later\"}".to_vec())
        }
        "moved" => (302, "Location: http://127.0.0.1:1/stolen\r\n".to_owned(), Vec::new()),
        "huge" => (200, String::new(), vec![b' '; 17 << 20]),
        "text" => (200, String::new(), b"hello".to_vec()),
        "empty" => (200, String::new(), Vec::new()),
        _ => ok(&json!({ "method": method })),
    });
    let store = server.store();
    let call = |path: &str| store.send(Method::Get, path, None);
    assert!(matches!(call("absent").unwrap_err(), UriError::Absent(why) if why == "no such thing"));
    for (path, told) in [
        ("page", "answered 404: <html>not MLflow"),
        ("busy", "answered 503: later"),
        ("moved", "answered 302"),
        ("huge", "larger than 16 MiB"),
        ("text", "is no answer of an MLflow server"),
    ] {
        let refused = call(path).unwrap_err();
        assert!(matches!(refused, UriError::Store(_)) && refused.to_string().contains(told), "{path}: {refused}");
    }
    assert_eq!(call("empty").unwrap(), Value::Null);
    for (method, name) in [(Method::Post, "POST"), (Method::Patch, "PATCH"), (Method::Delete, "DELETE")] {
        assert_eq!(store.send(method, "else", Some(&json!({ "a": 1 }))).unwrap(), json!({ "method": name }));
    }
    assert!(server.asked().contains(&r#"DELETE /api/2.0/else {"a":1}"#.to_owned()));
}

#[test]
fn a_listing_without_end_ends() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = server(move |_, _, _| {
        let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Each folder has one more.
        ok(&json!({ "files": [{ "path": format!("{next:0>200}"), "is_dir": true }] }))
    });
    let place = Place { uri: "s3://b".into(), owner: Owner::Run("r".into()), below: String::new() };
    let refused = server.store().list(&place).unwrap_err();
    assert!(refused.to_string().contains("without end"), "{refused}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let gone = HttpStore::new("http://127.0.0.1:1").unwrap().logged_model("m-1").unwrap_err();
    assert!(gone.to_string().starts_with("http://127.0.0.1:1: "), "{gone}");
    assert!(HttpStore::new("ftp://x").is_err());
}
