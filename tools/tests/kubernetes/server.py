"""The API server of a cluster, as far as `kubectl` needs it for one Job: HTTPS, recorded answers.

    server.py FOLDER OUTCOME

writes FOLDER/config for kubectl once it listens, and every request into FOLDER/requests. OUTCOME is what becomes of the
Job: Complete, Failed, or Never.
"""

import base64
import json
import ssl
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, OUTCOME = Path(sys.argv[1]), sys.argv[2]
JOBS = {}

VERSIONS = {"kind": "APIVersions", "versions": ["v1"]}
GROUPS = {
    "kind": "APIGroupList",
    "apiVersion": "v1",
    "groups": [
        {
            "name": "batch",
            "versions": [{"groupVersion": "batch/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"},
        }
    ],
}
VERBS = ["create", "delete", "get", "list", "watch"]


def resources(group, names):
    kinds = [
        {"name": name, "singularName": one, "namespaced": True, "kind": kind, "verbs": VERBS} for name, one, kind in names
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": kinds}


def not_found(path):
    return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": path}


def status(job):
    """What the cluster says at the second and third look."""
    looks = job["looks"] = job.get("looks", 0) + 1
    found = {"startTime": "2026-11-30T17:00:00Z"} if looks > 1 else {}
    if looks > 2 and OUTCOME != "Never":
        found["conditions"] = [{"type": OUTCOME, "status": "True", "reason": "Recorded", "message": "as recorded"}]
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def handle_call(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        with open(FOLDER / "requests", "a") as out:
            line = {"method": self.command, "path": path, "query": query, "body": body.decode(), "login": self.headers.get("Authorization")}
            out.write(json.dumps(line) + "\n")
        self.answer(*self.found(path, query, body))

    do_GET = do_POST = do_DELETE = handle_call

    def found(self, path, query, body):
        if self.headers.get("Authorization") != "Bearer recorded":
            return 401, {"kind": "Status", "status": "Failure", "code": 401, "reason": "Unauthorized"}
        parts = path.strip("/").split("/")
        if path == "/version":
            return 200, {"major": "1", "minor": "28", "gitVersion": "v1.28.0"}
        if path == "/openapi/v2":
            # A document in protocol buffers that describes nothing, so that kubectl checks nothing by it.
            return 200, b"\x0a\x032.0"
        if path == "/api":
            return 200, VERSIONS
        if path == "/apis":
            return 200, GROUPS
        if path == "/api/v1":
            return 200, resources("v1", [("pods", "pod", "Pod"), ("pods/log", "", "Pod")])
        if path == "/apis/batch/v1":
            return 200, resources("batch/v1", [("jobs", "job", "Job")])
        if parts[:3] == ["apis", "batch", "v1"] and parts[5:6] == ["jobs"]:
            return self.job(path, parts, body)
        if parts[:2] == ["api", "v1"] and parts[-1] == "pods":
            name = next(iter(JOBS), None)
            pod = {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": f"{name}-x", "namespace": parts[3]},
                "spec": {"containers": [{"name": "demo"}]},
                "status": {"phase": "Succeeded"},
            }
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod] if name else []}
        if parts[:2] == ["api", "v1"] and parts[-1] == "log":
            return 200, b"hello from a pod\n"
        if parts[:2] == ["api", "v1"] and parts[4:5] == ["pods"]:
            return 200, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": parts[5], "namespace": parts[3]},
                         "spec": {"containers": [{"name": "demo"}]}, "status": {"phase": "Succeeded"}}
        return not_found(path)

    def job(self, path, parts, body):
        if self.command == "POST":
            job = json.loads(body)
            job["metadata"]["uid"] = "u"
            job["spec"]["selector"] = {"matchLabels": {"job-name": job["metadata"]["name"]}}
            JOBS[job["metadata"]["name"]] = {"job": job}
            return 201, job
        if len(parts) < 7 or parts[6] not in JOBS:
            return not_found(path)
        known = JOBS[parts[6]]
        if self.command == "DELETE":
            del JOBS[parts[6]]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return 200, {**known["job"], "status": status(known)}

    def log_message(self, *_):
        pass


def certificate():
    """A certificate of its own for 127.0.0.1."""
    key, made = FOLDER / "key.pem", FOLDER / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", made, *names]
    subprocess.run(call, check=True, capture_output=True)
    return made, key


made, key = certificate()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(made, key)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
config = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "recorded",
            "cluster": {
                "server": f"https://127.0.0.1:{server.server_port}",
                "certificate-authority-data": base64.b64encode(made.read_bytes()).decode(),
            },
        }
    ],
    "users": [{"name": "u", "user": {"token": "recorded"}}],
    "contexts": [{"name": "recorded", "context": {"cluster": "recorded", "user": "u"}}],
    "current-context": "recorded",
}
(FOLDER / "config.new").write_text(json.dumps(config))
(FOLDER / "config.new").rename(FOLDER / "config")
server.serve_forever()
