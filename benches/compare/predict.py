"""Data, models and bare Python loops for `compare predict`.

    predict.py make FOLDER ROWS      rows.parquet (20 float64 columns), batch.parquet (a batch of them), and two models, each
                                     as ONNX and in scikit-learn: a logistic regression, and a network of two layers
    predict.py bare FOLDER onnx|sklearn|onnx-layers|sklearn-layers BATCH_ROWS [--read]

A bare loop does the least that a program in Python can do: batches of the Parquet file are predicted one after the other
and thrown away; nothing is written, no signature is enforced. Without --read, the batches are in memory before the clock
starts. It prints the seconds of the loop.
"""

import sys
import time
from pathlib import Path

COLUMNS = 20


def make(folder, rows):
    import mlflow
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import skl2onnx
    from mlflow.types import ColSpec, Schema
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    random = np.random.default_rng(1)
    names = [f"c{at}" for at in range(COLUMNS)]
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(name, pa.float64()) for name in names])
    with pq.ParquetWriter(folder / "rows.parquet", schema, compression="zstd") as writer:
        for start in range(0, rows, 1 << 18):
            count = min(1 << 18, rows - start)
            values = random.normal(size=(COLUMNS, count))
            writer.write_table(pa.Table.from_arrays([pa.array(column) for column in values], schema=schema))
    first = next(pq.ParquetFile(folder / "rows.parquet").iter_batches(batch_size=1 << 16))
    pq.write_table(pa.Table.from_batches([first]), folder / "batch.parquet", compression="zstd")
    x = random.normal(size=(2000, COLUMNS))
    y = (x @ random.normal(size=COLUMNS) > 0).astype(int)
    table = pd.DataFrame(x, columns=names)
    signature = mlflow.models.ModelSignature(inputs=Schema([ColSpec("double", name) for name in names]))
    network = MLPClassifier((64, 32), max_iter=20, random_state=1)
    for suffix, model in (("", LogisticRegression()), ("-layers", network)):
        model.fit(table, y)
        types = [("x", FloatTensorType([None, COLUMNS]))]
        graph = skl2onnx.to_onnx(model, initial_types=types, options={"zipmap": False})
        mlflow.onnx.save_model(graph, str(folder / f"onnx{suffix}"), signature=signature, pip_requirements=["onnxruntime"])
        mlflow.sklearn.save_model(
            model,
            str(folder / f"sklearn{suffix}"),
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )


def bare(folder, kind, batch_rows, reads):
    import numpy as np
    import pyarrow.parquet as pq

    if kind.startswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / kind / "model.onnx"), providers=["CPUExecutionProvider"])

        def predict(batch):
            columns = [batch.column(at).to_numpy() for at in range(COLUMNS)]
            return session.run(None, {"x": np.stack(columns, axis=1).astype(np.float32)})
    else:
        import mlflow

        model = mlflow.sklearn.load_model(str(folder / kind))

        def predict(batch):
            return model.predict(batch.to_pandas())

    batches = pq.ParquetFile(folder / "rows.parquet").iter_batches(batch_size=batch_rows)
    if not reads:
        batches = list(batches)
    started = time.perf_counter()
    for batch in batches:
        predict(batch)
    print(time.perf_counter() - started)


if sys.argv[1] == "make":
    make(Path(sys.argv[2]), int(sys.argv[3]))
else:
    bare(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), "--read" in sys.argv)
