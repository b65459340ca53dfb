"""Artifacts: through the proxy, by run, model and version; paths, ranges, large files."""

import os
import threading
import time

import pytest
from conftest import Api, fact, knob, refused

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
AJAX = "/ajax-api/2.0/mlflow"


def at(uri):
    """Where the proxy has an artifact URI."""
    return f"{PROXY}/" + uri.removeprefix("mlflow-artifacts:/")


def put(api, path, data=b"hello world"):
    response = api.raw("PUT", path, data=data)
    assert (response.status_code, response.content) == (200, b""), response.text
    return response


@pytest.fixture
def place(api, run):
    """Proxy path of a run's artifacts."""
    return at(api.info(run)["artifact_uri"])


def test_upload_and_download(api, run, place):
    for name, data in [("a.txt", b"hello"), ("d/e/f.bin", bytes(range(256)) * 100), ("empty", b""), ("é 漢.html", b"<p>")]:
        put(api, f"{place}/{name}", data)
        assert api.raw("GET", f"{place}/{name}").content == data
    put(api, f"{place}/a.txt", b"again")
    assert api.raw("GET", f"{place}/a.txt").content == b"again"
    assert api.raw("PUT", f"{place}/chunked", data=iter([b"one ", b"two"])).status_code == 200
    assert api.raw("GET", f"{place}/chunked").content == b"one two"
    api.raw("PUT", f"/ajax-api/2.0/mlflow-artifacts/artifacts/{place.removeprefix(PROXY + '/')}/x", data=b"x")
    assert api.raw("GET", f"{place}/x").content == b"x"


def test_headers_of_a_download(api, place):
    for name, kind in [
        ("MLmodel", "text/plain"),
        ("MLproject", "text/plain"),
        ("mlproject", "text/plain"),
        ("a.txt", "text/plain"),
        ("a.py", "text/plain"),
        ("a.json", "text/plain"),
        ("a.yaml", "text/plain"),
        ("a.csv", "text/plain"),
        ("a.md", "text/plain"),
        ("a.ipynb", "text/plain"),
        ("a.log", "text/plain"),
        ("a.png", "image/png"),
        ("a.html", "text/html"),
        ("a.unknown-kind", "application/octet-stream"),
        ("noextension", "application/octet-stream"),
    ]:
        put(api, f"{place}/{name}")
        response = api.raw("GET", f"{place}/{name}")
        assert response.headers["content-type"].split(";")[0] == kind, name
        assert response.headers["content-disposition"] == f"attachment; filename={name}"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-length"] == "11"
        assert response.headers["etag"] and response.headers["last-modified"]
    put(api, f"{place}/é.html")
    disposition = api.raw("GET", f"{place}/é.html").headers["content-disposition"]
    assert disposition == "attachment; filename=e.html; filename*=UTF-8''%C3%A9.html"


def test_head(api, place):
    put(api, f"{place}/a.txt")
    response = api.raw("HEAD", f"{place}/a.txt")
    assert (response.status_code, response.headers["content-length"], response.content) == (200, "11", b"")
    assert api.raw("HEAD", f"{place}/nope").status_code == 404


@pytest.mark.parametrize("range, status, body, content_range", [
    ("bytes=0-4", 206, b"hello", "bytes 0-4/11"),
    ("bytes=6-", 206, b"world", "bytes 6-10/11"),
    ("bytes=-3", 206, b"rld", "bytes 8-10/11"),
    ("bytes=0-0", 206, b"h", "bytes 0-0/11"),
    ("bytes=5-100", 206, b" world", "bytes 5-10/11"),
    ("bytes=-100", 206, b"hello world", "bytes 0-10/11"),
    ("bytes=11-", 416, None, "bytes */11"),
    ("bytes=100-200", 416, None, "bytes */11"),
    ("bytes=-0", 416, None, "bytes */11"),
])
def test_ranges(api, place, range, status, body, content_range):
    put(api, f"{place}/a.txt")
    response = api.raw("GET", f"{place}/a.txt", headers={"Range": range})
    assert response.status_code == status
    assert response.headers["content-range"] == content_range
    if body is not None:
        assert response.content == body


@pytest.mark.parametrize("range", ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes", "bytes=--5", "bytes=" + "9" * 40 + "-"])
def test_ranges_that_are_none(api, place, range):
    put(api, f"{place}/a.txt")
    response = api.raw("GET", f"{place}/a.txt", headers={"Range": range})
    assert response.status_code in (200, 416)
    if response.status_code == 200:
        assert response.content == b"hello world"


def test_what_is_not_there(api, place):
    path = place.removeprefix(PROXY + "/")
    refused(api.raw("GET", f"{place}/nope"), f"No such artifact: '{path}/nope'", **ABSENT)
    put(api, f"{place}/d/a.txt")
    assert api.raw("GET", f"{place}/d").status_code == 400
    assert api.raw("PUT", f"{place}/d", data=b"x").status_code in (400, 409)
    assert api.raw("PUT", f"{place}/d/a.txt/below", data=b"x").status_code in (400, 409)
    assert api.raw("GET", f"{place}/d/a.txt").content == b"hello world"


def test_lists_of_the_proxy(api, place):
    for name in ["b.txt", "a/x/y.txt", "empty"]:
        put(api, f"{place}/{name}", b"" if name == "empty" else b"hello")
    path = place.removeprefix(PROXY + "/")
    files = api.get(PROXY, path=path)["files"]
    assert sorted(files, key=lambda f: f["path"]) == [
        {"path": "a", "is_dir": True},
        {"path": "b.txt", "is_dir": False, "file_size": 5},
        {"path": "empty", "is_dir": False},
    ]
    assert api.get(PROXY, path=f"{path}/a") == {"files": [{"path": "x", "is_dir": True}]}
    assert api.get(PROXY, path=f"{path}/nope") == {}
    assert api.get(PROXY, path=f"{path}/b.txt") == {}


def test_delete(api, place):
    for name in ["a.txt", "d/e/f.txt", "d/g.txt"]:
        put(api, f"{place}/{name}")
    for name in ["a.txt", "d", "nope"]:
        response = api.raw("DELETE", f"{place}/{name}")
        assert (response.status_code, response.json()) == (200, {})
    assert api.get(PROXY, path=place.removeprefix(PROXY + "/")) == {}


def test_lists_of_a_run(api, run, place):
    uri = api.info(run)["artifact_uri"]
    assert api.get("artifacts/list", run_id=run) == {"root_uri": uri}
    for name in ["b.txt", "d/a.txt", "d/e/x", "a"]:
        put(api, f"{place}/{name}")
    listed = api.get("artifacts/list", run_id=run)
    assert listed == {
        "root_uri": uri,
        "files": [
            {"path": "a", "is_dir": False, "file_size": 11},
            {"path": "b.txt", "is_dir": False, "file_size": 11},
            {"path": "d", "is_dir": True},
        ],
    }
    assert [f["path"] for f in api.get("artifacts/list", run_id=run, path="d")["files"]] == ["d/a.txt", "d/e"]
    for path in ["nope", "b.txt", "d/nope"]:
        assert api.get("artifacts/list", run_id=run, path=path) == {"root_uri": uri}
    api.bad("GET", "artifacts/list", {"run_id": "0" * 32}, "not found", **ABSENT)
    assert api.get(f"{AJAX}/artifacts/list", run_uuid=run, path="d")["files"]


def test_get_artifact(api, run, place):
    put(api, f"{place}/d/a.txt", b"text")
    for query in [{"run_id": run}, {"run_uuid": run}]:
        response = api.raw("GET", "/get-artifact", params={"path": "d/a.txt", **query})
        assert (response.status_code, response.content) == (200, b"text")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["content-disposition"] == "attachment; filename=a.txt"
        assert response.headers["x-content-type-options"] == "nosniff"
    assert api.raw("GET", "/get-artifact", params={"run_id": run, "path": "nope"}).status_code == 404
    assert api.raw("GET", "/get-artifact", params={"run_id": "0" * 32, "path": "a"}).status_code == 404


def test_artifacts_of_a_model(api):
    model = api.model()["info"]
    path, id = at(model["artifact_uri"]), model["model_id"]
    put(api, f"{path}/MLmodel", b"flavors")
    put(api, f"{path}/data/w.bin", b"w")
    directories = f"logged-models/{id}/artifacts/directories"
    listed = api.get(directories)
    assert listed["root_uri"] == model["artifact_uri"]
    assert [f["path"] for f in listed["files"]] == ["MLmodel", "data"]
    assert [f["path"] for f in api.get(directories, artifact_directory_path="data")["files"]] == ["data/w.bin"]
    response = api.raw("GET", f"{AJAX}/logged-models/{id}/artifacts/files", params={"artifact_file_path": "MLmodel"})
    assert (response.status_code, response.content) == (200, b"flavors")
    name = api.registered()
    for source in [f"models:/{id}", model["artifact_uri"]]:
        number = api.version(name, source=source, model_id=id)["version"]
        query = {"name": name, "version": number, "path": "MLmodel"}
        response = api.raw("GET", "/model-versions/get-artifact", params=query)
        assert (response.status_code, response.content) == (200, b"flavors"), source


def test_upload_by_the_pages(api, run, place):
    path = f"{AJAX}/upload-artifact"
    response = api.raw("POST", path, params={"run_uuid": run, "path": "x/a.txt"}, data=b"data")
    assert (response.status_code, response.content) == (200, b"")
    assert api.raw("GET", f"{place}/x/a.txt").content == b"data"
    ten = 10 << 20
    for query, data, message in [
        ({"path": "a"}, b"x", "Request must specify run_uuid."),
        ({"run_uuid": run}, b"x", "Request must specify path."),
        ({"run_uuid": run, "path": "a"}, b"", "Request must specify data."),
        ({"run_uuid": run, "path": "a"}, b"x" * (ten + 1), "Artifact size is too large. Max size is 10MB."),
    ]:
        refused(api.raw("POST", path, params=query, data=data), message)
    assert api.raw("POST", path, params={"run_uuid": run, "path": "ten"}, data=b"x" * ten).status_code == 200


def test_what_this_server_has_not(api, run):
    base = "/api/2.0/mlflow-artifacts"
    message = "is not supported for the current artifact repository"
    for kind in ("create", "complete", "abort"):
        fields = {"path": "x", "num_parts": 2, "upload_id": "u", "parts": []}
        response = api.send("POST", f"{base}/mpu/{kind}/x", fields)
        refused(response, message, status=501, code="NOT_IMPLEMENTED")
    refused(api.raw("GET", f"{base}/presigned/x"), status=501, code="NOT_IMPLEMENTED")
    for kind in ("presigned-upload-url", "presigned-download-url"):
        response = api.send("POST", f"artifacts/{kind}", {"run_id": run, "path": "x"})
        refused(response, status=501, code="NOT_IMPLEMENTED")


def test_folders_are_made_by_the_first_artifact(api, server, run, place):
    if not hasattr(server, "store"):
        pytest.skip("needs the server's files")
    root = server.store / "artifacts" / place.removeprefix(PROXY + "/")
    assert not root.exists() and not root.parent.exists()
    put(api, f"{place}/a.txt")
    assert (root / "a.txt").read_bytes() == b"hello world"
    assert [path.name for path in root.iterdir()] == ["a.txt"]


def test_half_an_upload_is_none(api, server, place):
    """What broke off is not there, and what was there stays."""
    import socket

    put(api, f"{place}/a.txt", b"whole")
    host, port = server.uri.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"PUT {place}/a.txt HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 5000)
        time.sleep(0.1)
    time.sleep(0.3)
    assert api.raw("GET", f"{place}/a.txt").content == b"whole"
    assert [f["path"] for f in api.get(PROXY, path=place.removeprefix(PROXY + "/"))["files"]] == ["a.txt"]


def test_a_root_that_clients_reach_themselves(make_server, tmp_path):
    server = make_server("--default-artifact-root", f"file://{tmp_path}")
    api = Api(server.uri)
    run = api.run()
    uri = api.info(run)["artifact_uri"]
    assert uri == f"file://{tmp_path}/0/{run}/artifacts"
    path = tmp_path / "0" / run / "artifacts"
    path.mkdir(parents=True)
    (path / "a.txt").write_text("text")
    assert api.get("artifacts/list", run_id=run)["files"] == [{"path": "a.txt", "is_dir": False, "file_size": 4}]
    assert api.raw("GET", "/get-artifact", params={"run_id": run, "path": "a.txt"}).content == b"text"


def test_large_files_take_no_memory(make_server):
    """``RUNLODE_LARGE_ARTIFACT_MIB`` sets the size; 2048 is what users have."""
    server = make_server()
    api = Api(server.uri)
    place = at(api.info(api.run())["artifact_uri"])
    size = knob("RUNLODE_LARGE_ARTIFACT_MIB", 200) << 20
    block = os.urandom(1 << 20)
    put(api, f"{place}/warm", block)
    assert len(api.raw("GET", f"{place}/warm").content) == len(block)
    before = server.rss_bytes()
    most = [before]
    stop = threading.Event()

    def watch():
        while not stop.wait(0.01):
            most[0] = max(most[0], server.rss_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        put(api, f"{place}/large", iter(block for _ in range(size >> 20)))
        got = 0
        with api.raw("GET", f"{place}/large", stream=True) as response:
            assert int(response.headers["content-length"]) == size
            for piece in response.iter_content(1 << 20):
                assert piece == block
                got += len(piece)
        assert got == size
        middle = api.raw("GET", f"{place}/large", headers={"Range": f"bytes={size // 2}-{size // 2 + 9}"})
        assert middle.content == block[:10]
    finally:
        stop.set()
        watcher.join()
    fact(f"{size >> 20} MiB up and down: {(most[0] - before) / 2**20:.1f} MiB more memory")
    assert most[0] - before < 32 << 20
