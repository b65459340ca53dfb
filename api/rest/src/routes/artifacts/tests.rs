//! The endpoints, by requests to the whole router.

use axum::Router;
use http_body_util::BodyExt;
use runlode::LocalStore;
use runlode::mlflow::NewRun;
use tower_service::Service;

use super::*;
use crate::door::ServeOptions;

struct Server {
    dir: tempfile::TempDir,
    door: Arc<Door>,
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn new(options: ServeOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("canary"), "sings").unwrap();
        let store = LocalStore::options(dir.path().join("store")).background(false).open().unwrap();
        let options = ServeOptions { serve_ui: false, ..options };
        let door = Arc::new(Door::new(store, options));
        let router = crate::server::router(&door);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { dir, door, router, runtime }
    }

    fn run(&self, experiment: &str) -> String {
        self.door
            .mlflow
            .create_run(&NewRun { experiment_id: Some(experiment), ..NewRun::default() })
            .unwrap()
            .info
            .run_id
    }

    fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, HeaderMap, String) {
        let request = HttpRequest::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(body.into()).unwrap();
        let mut router = self.router.clone();
        self.runtime.block_on(async {
            // As in the server: on a thread of the runtime, which may be given away.
            tokio::spawn(async move {
                let (head, body) = router.call(request).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
            })
            .await
            .unwrap()
        })
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, Body::empty());
        (status, body)
    }
}

const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn error(code: &str, message: &str) -> String {
    format!("{{\"error_code\":\"{code}\",\"message\":{}}}", serde_json::to_string(message).unwrap())
}

#[test]
fn the_proxy() {
    let server = Server::new(ServeOptions::default());
    let run = server.run("0");
    let place = format!("0/{run}/artifacts");
    assert_eq!(server.get(ARTIFACTS), (200, "{}".to_owned()));
    for (name, content) in [("a.txt", "hello world"), ("d/%C3%A9.html", "x"), ("d/empty", "")] {
        let (status, _, body) = server.ask("PUT", &format!("{ARTIFACTS}/{place}/{name}"), content);
        assert_eq!((status, body.as_str()), (200, ""));
    }
    let large: String = "0123456789".repeat(100_000);
    server.ask("PUT", &format!("/ajax-api/2.0/mlflow-artifacts/artifacts/{place}/large"), large.clone());
    assert_eq!(server.get(&format!("{ARTIFACTS}/{place}/large")), (200, large));
    let (status, headers, body) = server.ask("GET", &format!("{ARTIFACTS}/{place}/d/%C3%A9.html"), Body::empty());
    assert_eq!((status, body.as_str()), (200, "x"));
    assert_eq!(headers["content-disposition"], "attachment; filename=e.html; filename*=UTF-8''%C3%A9.html");
    let (status, headers, body) = server.ask("HEAD", &format!("{ARTIFACTS}/{place}/a.txt"), Body::empty());
    assert_eq!((status, body.as_str(), &headers["content-length"]), (200, "", &"11".parse().unwrap()));

    let list = |path: &str| server.get(&format!("{ARTIFACTS}?path={path}"));
    let listed = r#"{"files":[{"path":"empty","is_dir":false},{"path":"é.html","is_dir":false,"file_size":1}]}"#;
    assert_eq!(list(&format!("{place}/d")), (200, listed.to_owned()));
    assert_eq!(list(&format!("{place}/a.txt")), (200, "{}".to_owned()));
    assert_eq!(list("nope"), (200, "{}".to_owned()));
    let root_uri = format!("mlflow-artifacts:/{place}");
    let of_run = |query: &str| server.get(&format!("/ajax-api/2.0/mlflow/artifacts/list?{query}"));
    let listed = format!(
        "{{\"root_uri\":\"{root_uri}\",\"files\":[{{\"path\":\"d/empty\",\"is_dir\":false}},{{\"path\":\"d/é.html\",\
         \"is_dir\":false,\"file_size\":1}}]}}"
    );
    assert_eq!(of_run(&format!("run_uuid={run}&path=d")), (200, listed));
    assert_eq!(of_run(&format!("run_id={run}&path=nope")), (200, format!("{{\"root_uri\":\"{root_uri}\"}}")));
    assert!(of_run("path=d").1.contains("Missing value for required parameter 'run_id'"));

    let (status, headers, body) = server.ask("GET", &format!("/get-artifact?run_uuid={run}&path=a.txt"), Body::empty());
    assert_eq!((status, body.as_str(), &headers["cache-control"]), (200, "hello world", &"no-cache".parse().unwrap()));
    let directory =
        error("INVALID_PARAMETER_VALUE", &format!("Artifact path refers to a directory, not a file: '{place}/d'"));
    assert_eq!(server.get(&format!("{ARTIFACTS}/{place}/d")), (400, directory));
    let absent = error("RESOURCE_DOES_NOT_EXIST", &format!("No such artifact: '{place}/no'"));
    assert_eq!(server.get(&format!("/get-artifact?run_id={run}&path=no")), (404, absent));

    for path in [format!("{place}/d"), format!("{place}/nope")] {
        let (status, _, body) = server.ask("DELETE", &format!("{ARTIFACTS}/{path}"), Body::empty());
        assert_eq!((status, body.as_str()), (200, "{}"));
    }
    assert_eq!(list(&format!("{place}/d")).1, "{}");
    for (method, call, what) in [
        ("POST", "mpu/create/x", "Multipart upload"),
        ("POST", "mpu/complete/x", "Multipart upload"),
        ("POST", "mpu/abort/x", "Multipart upload"),
        ("GET", "presigned/x", "Multipart download"),
    ] {
        let (status, _, body) = server.ask(method, &format!("/api/2.0/mlflow-artifacts/{call}"), "{}");
        let message = format!("{what} is not supported for the current artifact repository");
        assert_eq!((status, body), (501, error("NOT_IMPLEMENTED", &message)));
    }
}

#[test]
fn tricks_on_every_route() {
    let server = Server::new(ServeOptions::default());
    let run = server.run("0");
    server.ask("PUT", &format!("{ARTIFACTS}/0/{run}/artifacts/x"), "x");
    let plain = ["../../canary", "..", "/etc/passwd", "C:/x", "a/../../canary", "a\\..\\x", "a\0b", "x#y", "file:/x"];
    let invalid = error("INVALID_PARAMETER_VALUE", "Invalid path");
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for trick in plain {
        let mut form = encoded(trick);
        for _ in 0..3 {
            for (method, path) in [
                ("GET", format!("{ARTIFACTS}/{form}")),
                ("HEAD", format!("{ARTIFACTS}/{form}")),
                ("PUT", format!("{ARTIFACTS}/{form}")),
                ("DELETE", format!("{ARTIFACTS}/{form}")),
                ("GET", format!("{ARTIFACTS}?path={form}")),
                ("POST", format!("/api/2.0/mlflow-artifacts/mpu/create/{form}")),
                ("GET", format!("/api/2.0/mlflow-artifacts/presigned/{form}")),
                ("GET", format!("/api/2.0/mlflow/artifacts/list?run_id=nobody&path={form}")),
                (
                    "GET",
                    format!("/api/2.0/mlflow/logged-models/m-x/artifacts/directories?artifact_directory_path={form}"),
                ),
                ("GET", format!("/ajax-api/2.0/mlflow/logged-models/m-x/artifacts/files?artifact_file_path={form}")),
                ("GET", format!("/get-artifact?run_id=nobody&path={form}")),
                ("GET", format!("/model-versions/get-artifact?name=n&version=1&path={form}")),
                ("POST", format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid=nobody&path={form}")),
            ] {
                let (status, _, body) = server.ask(method, &path, "{}");
                assert_eq!(status, 400, "{method} {path}");
                assert!(method == "HEAD" || body == invalid, "{method} {path}: {body}");
            }
            form = encoded(&form);
        }
    }
    assert_eq!(server.ask("DELETE", &format!("{ARTIFACTS}/."), Body::empty()).0, 400);
    assert_eq!(std::fs::read_to_string(server.dir.path().join("canary")).unwrap(), "sings");
    assert_eq!(server.get(&format!("{ARTIFACTS}/0/{run}/artifacts/x")).1, "x");
}

#[test]
fn places_of_clients_are_opened_only_below_roots() {
    let outside = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        artifact_roots: vec![outside.path().join("allowed").to_string_lossy().into_owned()],
        ..ServeOptions::default()
    };
    let server = Server::new(options);
    let of = |location: &str| {
        let experiment = server.door.mlflow.create_experiment(location, Some(location), &[]).unwrap();
        let run = server.run(&experiment);
        let file = outside.path().join("allowed").join(&run).join("artifacts");
        std::fs::create_dir_all(&file).unwrap();
        std::fs::write(file.join("f"), "f").unwrap();
        (
            server.get(&format!("/get-artifact?run_id={run}&path=f")),
            server.get(&format!("/api/2.0/mlflow/artifacts/list?run_id={run}")),
        )
    };
    let allowed = outside.path().join("allowed").to_string_lossy().into_owned();
    for location in [allowed.clone(), format!("file://{allowed}")] {
        let (file, list) = of(&location);
        assert_eq!(file, (200, "f".to_owned()));
        assert!(list.1.contains("{\"path\":\"f\",\"is_dir\":false,\"file_size\":1}"));
    }
    for location in
        ["/etc", "file:///etc", "s3://bucket/x", "https://host/x", &format!("{allowed}/../x"), &format!("{allowed}2")]
    {
        let (file, list) = of(location);
        assert_eq!((file.0, list.0), (403, 403), "{location}");
        assert!(file.1.contains("PERMISSION_DENIED") && list.1.contains("--artifact-roots"), "{file:?}");
    }
}

#[test]
fn uploads_from_pages() {
    let server = Server::new(ServeOptions::default());
    let run = server.run("0");
    let upload = |query: &str, body: &str| {
        let (status, _, answer) =
            server.ask("POST", &format!("/ajax-api/2.0/mlflow/upload-artifact?{query}"), body.to_owned());
        (status, answer)
    };
    let refused = |message: &str| (400, error("INVALID_PARAMETER_VALUE", message));
    assert_eq!(upload("path=x", "x"), refused("Request must specify run_uuid."));
    assert_eq!(upload(&format!("run_uuid={run}"), "x"), refused("Request must specify path."));
    assert_eq!(upload(&format!("run_uuid={run}&path=d/x"), ""), refused("Request must specify data."));
    let large = "x".repeat(PAGE_UPLOAD_BYTES_MAX);
    let query = format!("run_uuid={run}&path=d/x");
    assert_eq!(upload(&query, &format!("{large}x")), refused("Artifact size is too large. Max size is 10MB."));
    assert_eq!(upload(&query, &large), (200, String::new()));
    assert_eq!(server.get(&format!("/get-artifact?run_id={run}&path=d/x")), (200, large));
    assert_eq!(upload("run_uuid=nobody&path=x", "x").0, 404);
}

#[test]
fn without_the_proxy() {
    let server = Server::new(ServeOptions { serve_artifacts: false, ..ServeOptions::default() });
    for (method, path) in [("GET", "/x"), ("PUT", "/x"), ("DELETE", "/x"), ("GET", "?path=x")] {
        let (status, _, body) = server.ask(method, &format!("{ARTIFACTS}{path}"), "x");
        assert_eq!(status, 503);
        assert!(body.contains("disabled due to the mlflow server running with `--no-serve-artifacts`"), "{body}");
    }
    let run = server.run("0");
    let store = server.dir.path().join("store/artifacts/0").join(&run).join("artifacts");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("f"), "f").unwrap();
    assert_eq!(server.get(&format!("/get-artifact?run_id={run}&path=f")), (200, "f".to_owned()));
}

#[test]
fn a_broken_upload_leaves_nothing() {
    let server = Server::new(ServeOptions::default());
    let pieces = futures_util::stream::iter([
        Ok(bytes::Bytes::from(vec![0; 600_000])),
        Err(std::io::Error::other("the client left")),
    ]);
    let (status, _, body) = server.ask("PUT", &format!("{ARTIFACTS}/0/x"), Body::from_stream(pieces));
    assert_eq!(status, 400);
    assert!(body.contains("BAD_REQUEST") && body.contains("the client left"), "{body}");
    assert_eq!(server.get(&format!("{ARTIFACTS}/0/x")).0, 404);
    let left = std::fs::read_dir(server.dir.path().join("store/artifacts/.runlode-uploads")).unwrap();
    assert_eq!(left.count(), 0);
}
