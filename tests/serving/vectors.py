"""Requests whose answers are compared with those of MLflow: the name of a model, a content type, a body."""
import json

JSON, CSV = "application/json", "text/csv"
ROW = {"i": 1, "l": 2, "f": 0.5, "d": 1.5, "b": True, "s": "x"}


def body(key, value, **more):
    return json.dumps({key: value, **more})


def scalar(column, value):
    return body("dataframe_records", [{**ROW, column: value}])


UNTYPED = [
    '{"inputs": [1, 2.5]}', '{"inputs": [1, null]}', '{"inputs": []}', '{"inputs": {"a": [1, 2], "b": [3]}}',
    '{"inputs": [[1, 2], [3]]}', '{"instances": {"a": [1, 2], "b": [3]}}', "", "{", "[1]", '"a"', "null", "{}",
    '{"foo": 1}', '{"inputs": [1], "instances": [1]}', '{"inputs": [1], "foo": 2}', '{"inputs": 5}', '{"inputs": "x"}',
    '{"inputs": null}', '{"inputs": [{"a": 1}, {"b": [2]}]}', '{"instances": [{"a": 1}, {"a": 2.5}]}',
    '{"instances": [[1, 2], [3, 4]]}', '{"messages": [{"role": "user", "content": "hi"}]}',
    '{"prompt": "x", "inputs": [1]}', '{"input": ["a"], "params": {"n": 1}}',
    '{"dataframe_split": {"columns": ["a"], "data": [[1], [null]]}}', '{"dataframe_split": {"columns": ["a"]}}',
    '{"dataframe_split": [1]}', '{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}',
    '{"dataframe_split": {"columns": ["a"], "data": [[1]], "x": 1}}', '{"dataframe_records": {"a": 1}}',
    '{"dataframe_split": {"columns": ["a", "b"], "index": ["p", "q"], "data": [[1, "x"], [2.5, "y"]]}}',
    '{"dataframe_records": [{"a": 1}, {"b": "x"}]}', '{"dataframe_records": []}', '{"inputs": [1], "inputs": [2]}',
    '{"inputs": [NaN, Infinity]}', '{"inputs": [18446744073709551616]}', '{"inputs": [1], "params": {"n": 1}}',
    '{"inputs": ["\\ud800"]}', '{"inputs": [1]} ', "\ufeff" + '{"inputs": [1]}',
]
SCALARS = [
    body("dataframe_records", [ROW]), body("instances", [ROW]), body("inputs", ROW), body("inputs", [ROW]),
    body("inputs", {key: [value] for key, value in ROW.items()}), body("dataframe_records", [{**ROW, "extra": 1}]),
    body("dataframe_records", [{key: value for key, value in ROW.items() if key != "i"}]),
    body("inputs", {**{key: [value] for key, value in ROW.items()}, "i": [1, 2]}), body("inputs", [1, 2]),
    body("inputs", 5), body("dataframe_split", {"data": [[1]]}),
    body("dataframe_split", {"columns": list(ROW), "data": []}), body("dataframe_split", {"columns": {"k": 1}, "data": []}),
    body("dataframe_split", {"columns": ROW, "data": [list(ROW.values())]}),
    body("dataframe_split", {"columns": list(ROW), "data": [list(ROW.values()), list(ROW.values())]}),
    *(scalar(column, value) for column, value in [
        ("i", 1.0), ("i", 1.5), ("i", "7"), ("i", True), ("i", 2147483648), ("i", "x"), ("i", None), ("l", 1.9),
        ("l", 9007199254740993), ("l", 9223372036854775808), ("f", 1), ("f", "1.5"), ("f", 16777217), ("f", 1e300),
        ("f", None), ("d", 3), ("d", "NaN"), ("d", True), ("d", None), ("d", "abc"), ("b", 1), ("b", "false"),
        ("b", ""), ("b", None), ("b", 2.5), ("s", 5), ("s", True), ("s", None), ("s", [1]), ("bin", "AQID"),
        ("bin", "!!"), ("bin", "AQI"), ("bin", 5), ("bin", None), ("t", "2024-01-02"),
        ("t", "2024-01-02T03:04:05.678901234"), ("t", 1700000000000), ("t", None), ("t", "nope"),
        ("t", "2024-01-02T03:04:05Z"), ("t", "2024-01-02T03:04:05+02:00"),
    ]),
    *(body("dataframe_records", [ROW], params=params) for params in [
        {"temp": 1}, {"stop": []}, {"temp": None}, {"n": 1099511627776}, {"zzz": 1}, None, {"n": 1.0}, {"n": "1"},
        {"n": True}, {"temp": "0.1"}, {"temp": True}, {"stop": "x"}, {"stop": [1]}, {"flag": 1}, [1], "a",
    ]),
]
NESTED = [
    *(body("dataframe_records", [{"s": "x", "arr": arr}]) for arr in [[1, 2], [], [1.0], ["1"], None, 5, [[1]], [1, None]]),
    *(body("dataframe_records", [{"s": "x", "arr": [1], "obj": obj}]) for obj in [
        {"x": 1.5}, {"x": 1}, {"x": 1.5, "y": None}, None, {}, {"x": 7}, {"y": "q"}, {"x": 1.5, "z": 1}, {"x": "a"}, [1],
    ]),
    *(body("dataframe_records", [{"s": "x", "arr": [1], "mp": mp}]) for mp in [{"k": ["a"]}, None, {}, {"k": "a"}, {"k": [1]}]),
    body("dataframe_records", [{"s": "x", "arr": [1], "any": {"deep": [1, "x", None]}}]),
    body("instances", [{"s": "x", "arr": [1]}]), body("inputs", {"s": "x", "arr": [1, 2]}),
    body("inputs", {"s": "x", "arr": [1], "obj": {"x": 1.5}, "mp": {"k": ["a"]}}), body("inputs", [{"s": "x", "arr": [1], "obj": {"x": 0}}]),
]
UNNAMED = [
    body("inputs", value)
    for value in [[[1, 2]], [[1, 2, 3]], [[1]], [1, 2], 5, {"a": [1]}, [["1", "x"]], [[1.5, "2"], [3, 4]]]
] + [body("dataframe_split", {"data": [[1, 2.5], [3, 4]]}), body("dataframe_records", [{"a": 1, "b": 2}])]
TENSORS = [
    *(body("inputs", value) for value in [
        {"a": [[1, 2]], "b": [1.7]}, {"a": [["1", "2"]], "b": [1]}, {"a": [[1, None]], "b": [1]},
        {"a": [[1, 2]], "b": [1, 2]}, {"a": [[1, 2]], "b": [1], "c": [5]}, {"a": [["x", "2"]], "b": [1]},
        {"a": [[1, 2]], "b": [None]}, {"a": [[1, 2, 3]], "b": [1]}, {"a": [1, 2], "b": [1]}, {"a": [[1, 2]]},
        {"a": [], "b": []},
    ]),
    body("instances", {"a": [[1, 2]], "b": [1, 2]}),
    body("instances", [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": 6}]),
    body("dataframe_split", {"columns": ["a", "b"], "data": [[[1, 2], 5], [[3, 4], 6]]}),
    body("dataframe_split", {"columns": ["a", "b"], "data": [[[1, 2, 3], 5]]}),
    '{"dataframe_split": {"columns": ["a", "b"], "data": [[[1, 2], Infinity], [[3, NaN], 6]]}}',
    '{"dataframe_records": [{"a": [1, 2], "b": [NaN]}, {"a": [3, Infinity], "b": [1e300]}]}',
]
MATRIX = [
    *(body(key, value) for key in ("inputs", "instances") for value in [
        [[1, 2, 3]], [[1, 2.5, "3"], [4, 5, 6]], [1, 2, 3], [[1, 2]], [], [[1, None, 3]], [["x", 1, 2]], {"X": [[1, 2, 3]]},
    ]),
    body("dataframe_split", {"data": [[1, 2, 3]]}),
    body("dataframe_records", [{"p0": 1, "p1": 2, "p2": 3}]),
    body("inputs", [[1, 2, 3]], params={"n": 1}),
]
# An unreadable input is reported before refused params.
PARAMS_ONLY = [
    body("inputs", [1], params={"n": 4}), body("inputs", [1], params={"n": "x"}), body("inputs", [[1], [2, 3]], params={"n": "x"}),
    body("instances", {"a": 1, "b": {}}, params={"n": [1]}), body("dataframe_split", {"columns": ["a"]}, params=[1]),
]
HINTED = [
    body("inputs", ["a", "b"]), body("inputs", [1]), body("inputs", "a"), body("inputs", []), body("instances", ["a"]),
    body("inputs", ["a"], instances=["b"]), body("dataframe_records", [{"a": "x"}]), '{"messages": ["x"]}',
]
SKLEARN_ROW = {"x%d" % place: place / 7 for place in range(20)}
SKLEARN = [
    body("dataframe_records", [SKLEARN_ROW]), body("inputs", [SKLEARN_ROW]),
    body("dataframe_split", {"columns": list(SKLEARN_ROW), "data": [list(SKLEARN_ROW.values())] * 3}),
    body("dataframe_split", {"columns": list(SKLEARN_ROW)[:-1], "data": [list(SKLEARN_ROW.values())[:-1]]}),
    body("inputs", {key: [value] for key, value in SKLEARN_ROW.items()}), body("inputs", [[1] * 20]),
    body("dataframe_records", [{**SKLEARN_ROW, "x3": None}]), body("dataframe_records", [{**SKLEARN_ROW, "x3": "a"}]),
]


def texts(model):
    given = {
        "untyped": UNTYPED, "scalars": SCALARS, "nested": NESTED, "unnamed": UNNAMED, "tensors": TENSORS,
        "matrix": MATRIX, "params only": PARAMS_ONLY, "hinted": HINTED, "sklearn": SKLEARN,
    }[model]
    for text in given:
        yield JSON, text.encode("utf-8", "surrogatepass")


CSVS = {
    "untyped": ["", "a,b\n1,2,3\n4\n", "a,b\n1,x\n2.5,\n", "\ufeffa,a,\n1,2,3\n", "a\n"],
    "scalars": [
        "i,l,f,d,b,s\n1,2,0.5,1.5,true,x\n", "i,l,f,d,b,s\n1.0,2,1,2,1,5\n", "i,l,f,d,b,s\n1.5,2,1,2,1,5\n",
        "i,l,f,d,b,s\n,2,1,2,1,5\n", "i,l,f,d,b,s,t\n1,2,1,2,1,5,2024-01-02\n", "i,l,f,d,b,s\n1,2,1,2,yes,x\n",
        "i,l,f,d,b,s,bin\n1,2,1,2,true,NA,AQID\n",
    ],
    "matrix": ["a,b,c\n1,2,3\n"],
    "unnamed": ["a,b\n1,2\n3,4.5\n"],
    "nested": ["s,arr\nx,1\n"],
    "hinted": ["a\nx\n"],
    "sklearn": [",".join(SKLEARN_ROW) + "\n" + ",".join(str(value) for value in SKLEARN_ROW.values()) + "\n"],
}


def requests(model):
    yield from texts(model)
    for text in CSVS.get(model, ()):
        yield CSV, text.encode()
