"""Hostile and broken requests: a clear refusal in MLflow's shape, a server that lives on, memory that stays."""

import http.client
import json
import os
import socket
import threading
import time

import pytest
from conftest import Api, refused, unique

JSON = {"Content-Type": "application/json"}
PROXY = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(autouse=True)
def the_server_lives_on(api, server):
    yield
    assert server.alive()
    assert api.raw("GET", "/health").text == "OK"


def address(server):
    host, port = server.uri.removeprefix("http://").split(":")
    return host, int(port)


def talk(server, data, wait_s=10):
    """What comes back for these bytes, until the server closes or is silent."""
    with socket.create_connection(address(server), timeout=wait_s) as connection:
        connection.sendall(data)
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
                if b"\r\n\r\n" in got and b"100 Continue" not in got:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def status_of(server, method, path):
    """Asks with the path as it is: clients tidy it up."""
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    connection.putrequest(method, path, skip_host=False, skip_accept_encoding=True)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


# Host and Origin.

@pytest.mark.parametrize("host, good", [
    ("localhost", True),
    ("localhost:5000", True),
    ("127.0.0.1:80", True),
    ("[::1]:5000", True),
    ("0.0.0.0", True),
    ("192.168.1.2:5000", True),
    ("10.1.2.3", True),
    ("172.16.0.1", True),
    ("172.31.0.1:9", True),
    ("[fd00::1]:5000", True),
    ("evil.example", False),
    ("evil.example:5000", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("172.32.0.1", False),
    ("8.8.8.8", False),
    ("localhost.:5000", True),
    ("10.evil.example", False),
    ("10.evil.example:5000", False),
    ("192.168.evil.example", False),
    ("172.16.evil.example", False),
    ("fd00:x.evil.example", False),
    ("localhost:5000@evil.example", False),
    ("evil.example@localhost", False),
    ("localhost, evil.example", False),
    ("[::1].evil.example", False),
    ("10.1", False),
    ("", False),
])
def test_hosts(api, host, good):
    response = api.raw("GET", "experiments/get", params={"experiment_id": "0"}, headers={"Host": host})
    if good:
        assert response.status_code == 200
    else:
        assert response.status_code == 403
        assert response.text == "Invalid Host header - possible DNS rebinding attack detected"
        assert api.raw("GET", "/health", headers={"Host": host}).status_code == 200
        assert api.raw("GET", "/version", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin, good", [
    ("http://localhost:3000", True),
    ("http://127.0.0.1", True),
    ("http://[::1]:8080", True),
    ("https://evil.example", False),
    ("http://localhost.evil.example", False),
    ("null", False),
    ("file://", False),
])
@pytest.mark.parametrize("path", ["/api/2.0/mlflow/experiments/create", "/ajax-api/2.0/mlflow/experiments/create"])
def test_origins(api, path, origin, good):
    name = unique("origin")
    response = api.raw("POST", path, json={"name": name}, headers={"Origin": origin})
    found = api.raw("GET", "experiments/get-by-name", params={"experiment_name": name}).status_code
    if good:
        assert (response.status_code, found) == (200, 200)
        assert response.headers["access-control-allow-origin"] == origin
    else:
        assert (response.status_code, found) == (403, 404)
        assert response.text == "Cross-origin request blocked"
        assert "access-control-allow-origin" not in response.headers
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert api.raw("OPTIONS", path, headers=asked).status_code == (200 if good else 400)
    read = api.raw("GET", "experiments/get", params={"experiment_id": "0"}, headers={"Origin": origin})
    assert read.status_code == 200 and ("access-control-allow-origin" in read.headers) == good


@pytest.mark.parametrize("lines, status", [
    (b"Host: localhost\r\n", 200),
    (b"Host: localhost\r\nHost: localhost\r\n", 400),
    (b"Host: localhost\r\nHost: evil.example\r\n", 400),
    (b"Host: evil.example\r\nHost: localhost\r\n", 400),
    (b"", 400),
])
@pytest.mark.parametrize("path", ["/health", "/api/2.0/mlflow/experiments/get?experiment_id=0"])
def test_a_request_names_one_host(server, path, lines, status):
    assert answered(server, f"GET {path} HTTP/1.1\r\n".encode() + lines) == status


def test_what_the_request_line_names_counts_too(server):
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    for target, host, status in [
        ("http://localhost", "localhost", 200),
        ("http://evil.example", "localhost", 403),
        ("http://localhost", "evil.example", 403),
        ("http://evil.example@localhost", "localhost", 403),
    ]:
        assert answered(server, f"GET {target}{path} HTTP/1.1\r\nHost: {host}\r\n".encode()) == status, target
    assert answered(server, f"GET {path} HTTP/1.0\r\n".encode()) == 200


def answered(server, head):
    """The status of the answer to this head."""
    return int(talk(server, head + b"Connection: close\r\n\r\n").split()[1])


@pytest.mark.parametrize("path", [
    "/graphql?query=%7B__typename%7D",
    "/api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow/model-versions/search",
    "/api/2.0/mlflow/registered-models/search",
    "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids=x&metric_key=k",
    "/api/2.0/mlflow/metrics/get-history?run_id=x&metric_key=k",
])
def test_foreign_pages_do_not_make_the_server_compute(api, path):
    for headers, good in [
        ({}, True),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"}, False),
    ]:
        status = api.raw("GET", path, headers=headers).status_code
        assert (status == 200 if good else status == 403), headers


def test_mutations_of_graphql_come_by_post(api):
    mutation = 'mutation { testMutation(inputString: "x") { output } }'
    assert api.raw("GET", "/graphql", params={"query": mutation}).status_code == 405
    assert api.raw("POST", "/graphql", json={"query": mutation}).status_code == 200


def test_other_stores_send_only_where_they_may(api):
    path = "/api/runlode/v1/sync"
    for response in [api.raw("GET", path, params={"source": "x"}), api.raw("POST", path, data=b"x")]:
        assert response.status_code == 403 and "runlode serve --allow-sync" in response.text


def test_hosts_and_origins_of_ones_own(make_server):
    server = make_server("--allowed-hosts", "ml.example,*.intern", "--cors-allowed-origins", "https://app.example")
    api = Api(server.uri)
    query = {"experiment_id": "0"}
    for host, status in [("ml.example", 200), ("a.intern:80", 200), ("other.example", 403)]:
        assert api.raw("GET", "experiments/get", params=query, headers={"Host": host}).status_code == status
    for origin, status in [("https://app.example", 200), ("https://evil.example", 403)]:
        headers = {"Host": "ml.example", "Origin": origin}
        response = api.raw("POST", "experiments/create", json={"name": unique("o")}, headers=headers)
        assert response.status_code == status


# Bodies.

@pytest.mark.parametrize("body", [
    b"{" * 100_000,
    b"[" * 1_000_000,
    b'{"name":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"name": "\xff\xfe\xfd"}',
    b"\xff" * 1000,
    b'{"name": "\\ud800"}',
    b'{"name": "a", "name": ',
    b'{"name": 1e999999}',
    b'{"name": ' + b"9" * 100_000 + b"}",
    b'{"name": "' + b"x" * 1_000_000 + b'"}',
    b'{"tags": ' + b"[" * 10_000 + b"]" * 10_000 + b', "name": "deep"}',
    b'"' + b'\\"' * 1000 + b'"',
    b"\x00" * 100,
    b"null",
], ids=range(14))
@pytest.mark.parametrize("path", ["experiments/create", "runs/log-batch", "runs/search", "logged-models", "/graphql"])
def test_broken_bodies(api, path, body):
    response = api.raw("POST", path, data=body, headers=JSON)
    if path in ("runs/search", "/graphql") and response.status_code == 200:
        return
    assert response.status_code == 400, response.text[:300]
    assert sorted(response.json()) == ["error_code", "message"]
    assert len(response.content) < 3_000_000


@pytest.mark.parametrize("size_mib", [17, 100])
@pytest.mark.parametrize("announced", [True, False])
def test_bodies_that_are_too_large(api, server, size_mib, announced):
    block = b" " * (1 << 20)
    body = block * size_mib if announced else (block for _ in range(size_mib))
    response = api.raw("POST", "runs/log-batch", data=body, headers=JSON)
    assert response.status_code == 413
    assert sorted(response.json()) == ["error_code", "message"]
    assert server.rss_bytes() < 600 << 20


def test_a_million_params(api, server, run):
    params = [{"key": f"p{i}", "value": "v"} for i in range(200_000)]
    fields = {"run_id": run, "params": params}
    api.bad("POST", "runs/log-batch", fields, "A batch logging request can contain at most 100 params. Got 200000 params.")
    params = [{"key": f"p{i}"} for i in range(1_000_000)]
    response = api.raw("POST", "runs/log-batch", json={"run_id": run, "params": params})
    assert response.status_code in (400, 413)
    assert api.params(run) == {}
    tags = [{"key": f"t{i}", "value": "v"} for i in range(100_000)]
    assert api.raw("POST", "runs/create", json={"experiment_id": "0", "tags": tags}).status_code in (200, 400, 413)


def test_many_ids(api, run):
    ids = ["0" * 32] * 50_000
    assert api.raw("POST", "runs/search", json={"experiment_ids": [str(i) for i in range(50_000)]}).status_code == 200
    response = api.raw("POST", "logged-models/search", json={"experiment_ids": ids})
    assert response.status_code in (200, 400)


@pytest.mark.parametrize("filter", [
    "metrics.a = 1 AND " * 20_000 + "metrics.a = 1",
    "(" * 50_000 + "metrics.a = 1" + ")" * 50_000,
    "NOT " * 50_000 + "metrics.a = 1",
    "tags.a LIKE '" + "%a" * 5_000 + "'",
    "run_id IN (" + ",".join(["'x'"] * 50_000) + ")",
    "`" * 10_000,
    "'" * 10_001,
    "metrics." + "a." * 50_000 + "b > 1",
    "\x00", "\ud7ff", "é" * 10_000,
    "metrics.a > " + "9" * 10_000,
], ids=range(12))
def test_hostile_filters(api, experiment, filter):
    run = api.run(experiment)
    api.batch(run, tags={"a": "a" * 5_000 + "b"})
    begin = time.monotonic()
    response = api.raw("POST", "runs/search", json={"experiment_ids": [experiment], "filter": filter})
    assert response.status_code in (200, 400), response.text[:300]
    assert time.monotonic() - begin < 5


WRONG = [None, True, 5, -1, 1.5, "", "x", [], [None], [[]], [{}], {}, {"a": {"b": []}}, "\x00", "é" * 10]
FIELDS = {
    "experiments/create": ["name", "artifact_location", "tags"],
    "experiments/search": ["max_results", "page_token", "filter", "order_by", "view_type"],
    "experiments/update": ["experiment_id", "new_name"],
    "runs/create": ["experiment_id", "user_id", "run_name", "start_time", "tags"],
    "runs/update": ["run_id", "status", "end_time", "run_name"],
    "runs/search": ["experiment_ids", "filter", "run_view_type", "max_results", "order_by", "page_token"],
    "runs/log-metric": ["run_id", "key", "value", "timestamp", "step", "model_id", "dataset_name"],
    "runs/log-batch": ["run_id", "metrics", "params", "tags"],
    "runs/log-inputs": ["run_id", "datasets", "models"],
    "runs/outputs": ["run_id", "models"],
    "runs/log-model": ["run_id", "model_json"],
    "logged-models": ["experiment_id", "name", "model_type", "source_run_id", "params", "tags"],
    "logged-models/search": ["experiment_ids", "filter", "datasets", "max_results", "order_by", "page_token"],
    "registered-models/create": ["name", "tags", "description"],
    "registered-models/alias": ["name", "alias", "version"],
    "model-versions/create": ["name", "source", "run_id", "run_link", "description", "tags", "model_id"],
    "model-versions/transition-stage": ["name", "version", "stage", "archive_existing_versions"],
    "/graphql": ["query", "variables", "operationName"],
}


@pytest.mark.parametrize("path", FIELDS)
def test_wrong_types_everywhere(api, path):
    good = {"experiment_id": "0", "name": "n", "run_id": "0" * 32, "max_results": 5, "source": "s3://b/x"}
    for field in FIELDS[path]:
        for value in WRONG:
            fields = {**{name: good[name] for name in FIELDS[path] if name in good}, field: value}
            response = api.raw("POST", path, json=fields)
            about = f"{path} {field}={value!r}: {response.status_code} {response.text[:200]}"
            assert response.status_code in (200, 400, 404), about
            assert response.headers["content-type"] == "application/json", about


# Paths.

TRICKS = [
    "../x",
    "a/../../x",
    "..",
    "%2e%2e/x",
    "%2e%2e%2fx",
    "..%2fx",
    "%252e%252e%252fx",
    "%25252e%25252e/x",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "%252fetc%252fpasswd",
    "..\\x",
    "..%5cx",
    "%5c..%5cx",
    "C:/x",
    "C:%5cx",
    "c%3a/x",
    "a/%2e%2e/%2e%2e/x",
]


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_with_paths(api, server, run, trick):
    secret = server.store.parent / "x"
    secret.write_text("secret")
    before = sorted(path.name for path in server.store.parent.iterdir())
    model = api.model()["info"]["model_id"]
    name = api.registered()
    api.version(name, source=f"models:/{model}")
    asked = [
        ("GET", f"{PROXY}/{trick}"),
        ("PUT", f"{PROXY}/{trick}"),
        ("DELETE", f"{PROXY}/{trick}"),
        ("GET", f"{PROXY}?path={trick}"),
        ("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run}&path={trick}"),
        ("GET", f"/get-artifact?run_id={run}&path={trick}"),
        ("GET", f"/get-artifact?run_id={'0' * 32}&path={trick}"),
        ("GET", f"/model-versions/get-artifact?name={name}&version=1&path={trick}"),
        ("GET", f"/api/2.0/mlflow/logged-models/{model}/artifacts/directories?artifact_directory_path={trick}"),
        ("GET", f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path={trick}"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path={trick}"),
    ]
    for method, path in asked:
        status, body = status_of(server, method, path)
        about = f"{method} {path}: {status} {body[:200]}"
        assert b"secret" not in body and b"root:" not in body, about
        # A doubled slash before an absolute path is one slash: a name like any other.
        if trick.startswith("/") and path.startswith(PROXY + "/"):
            assert status in (200, 400, 404), about
            continue
        assert status == 400, about
        message = json.loads(body)["message"]
        assert message == "Invalid path" or method == "POST", about
    assert sorted(path.name for path in server.store.parent.iterdir()) == before
    assert secret.read_text() == "secret"


def test_links_are_not_followed_out(api, server, run):
    uri = api.info(run)["artifact_uri"].removeprefix("mlflow-artifacts:/")
    folder = server.store / "artifacts" / uri
    folder.mkdir(parents=True)
    secret = server.store.parent / "secret.txt"
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    (folder / "folder").symlink_to(server.store.parent)
    for path in ["link", "folder/secret.txt"]:
        response = api.raw("GET", f"{PROXY}/{uri}/{path}")
        assert response.status_code in (400, 404) and "secret" not in response.text.replace("secret.txt", "")
    assert api.raw("PUT", f"{PROXY}/{uri}/folder/new", data=b"x").status_code in (400, 404)
    assert not (server.store.parent / "new").exists()


def test_names_that_files_cannot_have(api, server):
    for name in ["a" * 300, "a%00b", "%00", "a/" * 2000 + "b", "%ff%fe"]:
        for method in ("GET", "PUT", "DELETE"):
            status, _ = status_of(server, method, f"{PROXY}/{name}")
            assert 200 <= status < 500, f"{method} {name[:20]}: {status}"


# HTTP itself.

@pytest.mark.parametrize("data", [
    b"\r\n\r\n",
    b"GARBAGE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(5000)) + b"\r\n",
    b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nabcde",
    b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/2.0/mlflow/runs/get?run_id=%ff%fe&%=%&&&= HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\xff\r\n\r\n",
], ids=range(14))
def test_bytes_that_are_no_request(server, data):
    answer = talk(server, data, wait_s=3)
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 500 or (status == 200 and data.startswith(b"GET")), answer[:200]


def test_a_client_that_asks_before_it_sends(api, server):
    head = (
        b"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert talk(server, head).startswith(b"HTTP/1.1 413")


def test_slow_clients_do_not_stop_others(api, server):
    head = b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = [socket.create_connection(address(server)) for _ in range(200)]
    try:
        for i, connection in enumerate(slow):
            connection.sendall(head if i % 2 else head + b"Content-Length: 1000\r\n\r\n{")
        begin = time.monotonic()
        for _ in range(50):
            api.run()
        assert time.monotonic() - begin < 5
    finally:
        [connection.close() for connection in slow]


def test_many_connections(api, server):
    """More than the server keeps: idle ones are given up, and new ones are answered."""
    import resource

    wanted = 4300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 200:
        pytest.skip("too few file handles are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    idle = []
    try:
        for _ in range(wanted):
            idle.append(socket.create_connection(address(server), timeout=5))
        fresh = Api(server.uri)
        assert fresh.raw("GET", "/health").status_code == 200
        assert fresh.run()
    finally:
        [connection.close() for connection in idle]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_that_does_not_read(server, api, run):
    for start in range(0, 50_000, 1000):
        api.batch(run, [("m", i, i, i) for i in range(start, start + 1000)])
    path = f"/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m"
    deaf = []
    for _ in range(20):
        connection = socket.create_connection(address(server))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deaf.append(connection)
    time.sleep(0.5)
    assert len(api.history(run, "m")) == 50_000
    assert server.rss_bytes() < 600 << 20
    [connection.close() for connection in deaf]


def test_beyond_loopback_only_when_told(make_server):
    with pytest.raises(AssertionError, match="allow-unauthenticated"):
        make_server("--host", "0.0.0.0")


def test_nothing_was_lost(api, server):
    """After all of the above the store is whole."""
    import subprocess

    from conftest import command

    if not hasattr(server, "store"):
        pytest.skip("needs the server's files")
    id = api.run()
    server.stop()
    checked = subprocess.run([*command(), "verify", str(server.store)], capture_output=True, text=True)
    server.start()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert Api(server.uri).info(id)["run_id"] == id
