"""Paths, methods, headers and limits, byte for byte as clients of MLflow's scoring server see them."""
import json
import socket
import threading
import time

import pytest
import requests

from conftest import Served

GOOD = json.dumps({"dataframe_records": [{"what": "x"}]})


def raw(server, text, half=False):
    """The answer to bytes on a connection of their own: status line, headers, body."""
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(text if isinstance(text, bytes) else text.encode())
        if half:
            connection.shutdown(socket.SHUT_WR)
        whole = b""
        while piece := connection.recv(65536):
            whole += piece
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
    return int(first.split()[1]) if first else None, headers, body


@pytest.fixture
def server(serve):
    return serve("failing")


def test_paths_and_methods(server):
    for method, path, status, kind, body in [
        ("GET", "/ping", 200, "application/json", b"\n"),
        ("GET", "/health", 200, "application/json", b"\n"),
        ("GET", "/health?x=1", 200, "application/json", b"\n"),
        ("GET", "/version", 200, "application/json", b"3.17.2"),
        ("POST", "/ping", 405, "application/json", b'{"detail":"Method Not Allowed"}'),
        ("HEAD", "/ping", 405, "application/json", b""),
        ("OPTIONS", "/invocations", 405, "application/json", b'{"detail":"Method Not Allowed"}'),
        ("GET", "/invocations", 405, "application/json", b'{"detail":"Method Not Allowed"}'),
        ("GET", "/", 404, "application/json", b'{"detail":"Not Found"}'),
        ("POST", "/Invocations", 404, "application/json", b'{"detail":"Not Found"}'),
        ("GET", "http://127.0.0.1/ping", 404, "application/json", b'{"detail":"Not Found"}'),
    ]:
        given = raw(server, f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert (given[0], given[1]["content-type"], given[2]) == (status, kind, body), (method, path, given)
    assert raw(server, "POST /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")[1]["allow"] == "GET"


def test_a_slash_at_the_end_is_redirected(server):
    for path, place in [("/ping/", "/ping"), ("/invocations/?a=1", "/invocations?a=1")]:
        status, headers, body = raw(server, f"GET {path} HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n\r\n")
        assert (status, headers["location"], body) == (307, "http://h:1" + place, b"")


@pytest.mark.parametrize(
    "content_type, status, text",
    [
        ("application/json", 200, None),
        ("application/json; charset=UTF-8", 200, None),
        ("application/json; charset=latin-1", 415, "The scoring server only supports UTF-8"),
        ("application/json;", 415, "Unrecognized content type parameters: . "),
        ("application/json; a=b", 415, "Unrecognized content type parameters: a. "),
        ("Application/json", 415, "This predictor only supports the following content types: Types: ['text/csv',"),
        ("text/plain", 415, "'application/vnd.apache.parquet']. Got 'text/plain'."),
        (None, 415, "This predictor only supports"),
    ],
)
def test_content_types_are_taken_literally(server, content_type, status, text):
    answer = server.post(GOOD.encode(), content_type)
    assert answer.status_code == status, answer.text
    if text:
        assert text in answer.text and answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_first_of_two_content_types_counts(server):
    for first, second, status in [("application/json", "text/plain", 200), ("text/plain", "application/json", 415)]:
        head = f"Content-Type: {first}\r\nContent-Type: {second}\r\nContent-Length: {len(GOOD)}\r\nConnection: close"
        assert raw(server, f"POST /invocations HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{GOOD}")[0] == status


def test_a_chunked_body_is_read(server):
    chunks = (GOOD[:10].encode(), GOOD[10:].encode())
    assert server.post(iter(chunks)).json() == {"predictions": ["done"]}


def test_a_late_answer_is_a_504(saved):
    with Served(saved("failing"), "-t", "1") as server:
        answer = server.ask("sleep 3")
        assert (answer.status_code, answer.text) == (504, "Request processing time exceeded limit")
        assert answer.headers["content-type"] == "application/json"
        assert server.ask("x").status_code == 200


def test_a_body_that_is_too_large_is_refused_and_the_reason_arrives(saved):
    with Served(saved("failing"), "--body-mib", "1") as server:
        for body in (b" " * (3 << 20), iter([b" " * (1 << 20)] * 3)):
            answer = server.post(body)
            assert answer.status_code == 413 and "1 MiB" in answer.json()["message"]
        assert server.ask("x").status_code == 200


def test_what_waits_is_bounded(saved):
    with Served(saved("failing"), "--threads", "1", "--waiting", "2") as server:
        statuses, lock = [], threading.Lock()

        def ask():
            answer = requests.post(
                server.url + "/invocations", json={"dataframe_records": [{"what": "sleep 1"}]}
            )
            with lock:
                statuses.append((answer.status_code, answer.headers.get("retry-after")))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        refused = [status for status in statuses if status[0] == 429]
        assert all(status in ((200, None), (429, "1")) for status in statuses), statuses
        assert 5 <= len(refused) < 8, statuses
        assert server.ask("x").status_code == 200


def test_open_requests_are_answered_when_the_server_stops(saved):
    server = Served(saved("failing"))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.ask("sleep 1.5")))
    thread.start()
    while server.metric("predicting") != 1:
        time.sleep(0.01)
    assert server.stop() == 0
    thread.join()
    assert answers[0].json() == {"predictions": ["done"]}


def test_metrics_count(saved):
    with Served(saved("failing")) as server:
        [server.ask("x") for _ in range(3)]
        server.ask("value")
        text = requests.get(server.url + "/metrics").text
        assert 'requests_total{status="200"} 3' in text and 'requests_total{status="400"} 1' in text
        assert server.metric("request_seconds_count") == 4 and server.metric("rows_total") == 4


def test_requests_that_wait_are_predicted_together(saved):
    import served

    row = {"x%d" % place: place / 7 for place in range(20)}
    model, _, _ = served.sklearn_model()
    with Served(saved("sklearn"), "--batch", "--threads", "1") as server:
        answers = {}

        def ask(number):
            body = {"dataframe_records": [{**row, "x0": number / 5 - 10}]}
            if number % 10 == 0:
                body["dataframe_records"][0].pop("x1")
            answers[number] = requests.post(server.url + "/invocations", json=body)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        import pandas as pd

        rows = [{**row, "x0": number / 5 - 10} for number in range(100)]
        expected = model.predict(pd.DataFrame(rows)).tolist()
        for number, answer in answers.items():
            if number % 10 == 0:
                assert answer.status_code == 400, answer.text
            else:
                assert answer.json() == {"predictions": [expected[number]]}
        assert server.metric("batches_total") > 0
        assert server.metric("batched_requests_total") > server.metric("batches_total")
