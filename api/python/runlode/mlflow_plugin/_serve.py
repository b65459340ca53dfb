"""``python -m runlode.mlflow_plugin._serve URI``: MLflow's REST API over a store, on loopback, until standard input ends.

The first line of its output is its address. Artifacts are not served: clients are on this machine, and write them where the
store has them.
"""

import logging
import os
import sys
import threading


def main(uri):
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    handlers.initialize_backend_stores(uri, uri)
    # A line for each request would stand among the output of the command.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
