"""The model registry: the same calls of MLflow's SQL store and of ours, the same answers and refusals."""

import shutil

from .differential import Side, compare, scenario  # First: it skips where there is no MLflow to compare with.

from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from .scripts import PROMPT, model, pages, state, version

LONG = "x" * 250


# Names that may not be, as texts and not as texts.
NAMES = ["", " ", "\t", None, "a/b", "a:b", ":", "/", ".", "..", "./a", "a.", "a b", " a", "é", "a'b", 'a"b', "a\\b", "a\nb", "日本", LONG * 3, "a`b", "%", "..a", "..."]
KEYS = ["", None, " ", "a/b", "a:b", "a//b", "a/", "/a", "../a", "a/../b", ".", "..", "a|b", "a\nb", "é", LONG, LONG + "y", "'", "a'b"]
VALUES = ["", " ", "é", "x" * 5000, "x" * 5001, "x" * 100_000, "x" * 100_001]
VERSIONS = [1, "1", " 1 ", "+1", "-1", 0, -1, "0", 2, "2", 99, "99999999999999999999", "1.0", 1.0, 1.9, "a", "", None, "1_0", "０１", "１", True, "v1", "latest", 2**31, 2**63]
ALIASES = ["", " ", None, "a b", "a.b", "a/b", "latest", "LATEST", "Latest", "v1", "V12", "v", "v1a", "va", "1", "é", "a-b_c", "-", "x" * 255, "x" * 256, "a\nb", "@", "v１"]
STAGES = ["None", "none", "Staging", "staging", "STAGING", "Production", "Archived", "archived", "", " ", "Bogus", "Active", "Deleted_Internal", "stag ing"]


@scenario
def test_creation(s):
    model(s, "m")
    model(s, "m")
    model(s, "M", [("a", "1"), ("a", "2"), ("b", "")], description="d")
    model(s, "p", [(PROMPT, "true")], description="")
    model(s, "q", [(PROMPT, "false")])
    for name, given in [("p", None), ("p", [(PROMPT, "true")]), ("m", [(PROMPT, "true")]), ("m", [(PROMPT, "false")]), ("q", None), ("q", [(PROMPT, "x")]), ("M", [("a", "1")])]:
        model(s, name, given)
    model(s, "job", None, description="d", deployment_job_id="7")
    s.registry.update_registered_model("job", "e", deployment_job_id="8")
    s.registry.create_registered_model("no tags", [])
    s.registry.create_registered_model(name="by name", tags=(), description="x" * 6000)
    for description in ("d", "", None, "é" * 5001):
        s.registry.update_registered_model("m", description)
        s.registry.get_registered_model("m")
    s.registry.update_registered_model(name="x", description="y")
    state(s)


@scenario
def test_names(s):
    model(s, "m")
    version(s, "m")
    for name in NAMES:
        model(s, name)
        model(s, name, [("a|b", "1")])
        s.registry.get_registered_model(name)
        s.registry.update_registered_model(name, "d")
        s.registry.rename_registered_model("m", name)
        if s.registry.get_registered_model(name):
            s.registry.rename_registered_model(name, "m")
        s.registry.rename_registered_model(name, "n")
        s.registry.delete_registered_model("n")
        s.registry.get_latest_versions(name)
        s.registry.set_registered_model_tag(name, RegisteredModelTag("a", "b"))
        s.registry.delete_registered_model_tag(name, "a")
        version(s, name)
        s.registry.get_model_version(name, 1)
        s.registry.update_model_version(name, 1, "d")
        s.registry.transition_model_version_stage(name, 1, "Staging", True)
        s.registry.get_model_version_download_uri(name, 1)
        s.registry.set_model_version_tag(name, 1, ModelVersionTag("a", "b"))
        s.registry.delete_model_version_tag(name, 1, "a")
        s.registry.set_registered_model_alias(name, "a", 1)
        s.registry.get_model_version_by_alias(name, "a")
        s.registry.delete_registered_model_alias(name, "a")
        s.registry.delete_model_version(name, 1)
        s.registry.delete_registered_model(name)
        model(s, "m")
        version(s, "m")
    state(s)


@scenario
def test_tags_of_models(s):
    model(s, "m")
    for key in KEYS:
        s.registry.set_registered_model_tag("m", RegisteredModelTag(key, "v"))
        s.registry.delete_registered_model_tag("m", key)
        model(s, "new", [("fine", "1"), (key, "v")])
        s.registry.delete_registered_model("new")
    for value in VALUES:
        s.registry.set_registered_model_tag("m", RegisteredModelTag("k", value))
        s.registry.get_registered_model("m")
        model(s, "new", [("k", value)])
        s.registry.delete_registered_model("new")
    for key in ("z", "a", "k", "a"):
        s.registry.set_registered_model_tag("m", RegisteredModelTag(key, key * 2))
    s.registry.delete_registered_model_tag("m", "never")
    s.registry.delete_registered_model_tag("m", "z")
    s.registry.set_registered_model_tag("x", RegisteredModelTag("a", "b"))
    s.registry.set_registered_model_tag("x", RegisteredModelTag("a|", "b"))
    s.registry.delete_registered_model_tag("x", "a")
    state(s)


@scenario
def test_tags_of_versions(s):
    model(s, "m")
    version(s, "m", given=[("b", "1"), ("a", "2"), ("b", "3")])
    for key in KEYS:
        s.registry.set_model_version_tag("m", 1, ModelVersionTag(key, "v"))
        s.registry.delete_model_version_tag("m", 1, key)
        version(s, "m", given=[("fine", "1"), (key, "v")])
    for value in VALUES:
        s.registry.set_model_version_tag("m", 1, ModelVersionTag("k", value))
        s.registry.get_model_version("m", 1)
        version(s, "m", given=[("k", value)])
        for tag in ("mlflow.prompt.text", PROMPT):
            s.registry.set_model_version_tag("m", 1, ModelVersionTag(tag, value))
            s.registry.delete_model_version_tag("m", 1, tag)
    for number in VERSIONS:
        s.registry.set_model_version_tag("m", number, ModelVersionTag("n", "v"))
        s.registry.delete_model_version_tag("m", number, "n")
    s.registry.delete_model_version_tag("m", 1, "never")
    s.registry.set_model_version_tag("x", "y", ModelVersionTag("a|", "b"))
    s.registry.set_model_version_tag("x", 1, ModelVersionTag("a|", "b"))
    s.registry.set_model_version_tag("x", 1, ModelVersionTag("a", "b"))
    s.registry.delete_model_version_tag("x", 1, "b")
    state(s)


@scenario
def test_versions(s):
    version(s, "m")
    model(s, "m")
    version(s, "m")
    version(s, "m", "", run_id="")
    version(s, "m", "p/q", run_id="r" * 32, run_link="http://l", description="d", given=[("a", "b")])
    version(s, "m", "p", run_id=None, run_link="", description="", local_model_path="/x")
    s.registry.create_model_version(name="m", source="dummy-source", run_id=None, tags=[], run_link=None, description=None, local_model_path=None, model_id=None)
    for number in VERSIONS:
        s.registry.get_model_version("m", number)
        s.registry.get_model_version_download_uri("m", number)
        s.registry.update_model_version("m", number, "d")
        s.registry.update_model_version("x", number, "d")
    for description in ("d", "", None):
        s.registry.update_model_version("m", 2, description)
        s.registry.get_model_version("m", 2)
    s.registry.update_model_version(name="m", version="2")
    s.registry.delete_model_version("m", "2")
    for call in (s.registry.get_model_version, s.registry.get_model_version_download_uri, s.registry.delete_model_version, s.registry.update_model_version):
        call("m", 2)
    s.registry.transition_model_version_stage("m", 2, "Staging", False)
    s.registry.set_model_version_tag("m", 2, ModelVersionTag("a", "b"))
    s.registry.delete_model_version_tag("m", 2, "a")
    s.registry.set_registered_model_alias("m", "a", 2)
    version(s, "m")
    s.registry.delete_model_version("m", 7)
    version(s, "m")
    for number in (*VERSIONS, 3, 4, 5, 6, 7, 8):
        s.registry.delete_model_version("m", number)
    s.registry.get_latest_versions("m")
    version(s, "m")
    s.registry.delete_registered_model("m")
    s.registry.get_model_version("m", 1)
    s.registry.delete_registered_model("m")
    model(s, "m")
    version(s, "m")
    state(s)


@scenario
def test_stages(s):
    model(s, "m")
    for _ in range(5):
        version(s, "m")
    for stage in STAGES:
        s.registry.transition_model_version_stage("m", 1, stage, False)
        s.registry.transition_model_version_stage("m", 2, stage, True)
        s.registry.transition_model_version_stage("x", 2, stage, False)
        s.registry.get_latest_versions("m", [stage])
        s.registry.get_latest_versions("x", [stage])
        s.registry.get_latest_versions("m", [stage, "None"])
    lenient = s.registry.unlike("None is the stage of that name")
    lenient.transition_model_version_stage("m", 1, None, False)
    s.registry.transition_model_version_stage("m", 2, None, True)
    s.registry.transition_model_version_stage("x", 2, None, False)
    lenient.get_latest_versions("m", [None])
    s.registry.get_latest_versions("x", [None])
    lenient.get_latest_versions("m", [None, "None"])
    for number in VERSIONS:
        s.registry.transition_model_version_stage("m", number, "Staging", False)
        s.registry.transition_model_version_stage("m", number, "Production", True)
    for number, stage in [(4, "Staging"), (3, "Staging"), (1, "Production"), (2, "Archived"), (5, "staging")]:
        s.registry.transition_model_version_stage("m", number, stage, False)
        s.registry.get_latest_versions("m")
    s.registry.transition_model_version_stage("m", "4", "staging", archive_existing_versions=True)
    s.registry.transition_model_version_stage("m", 4, "Staging", None)
    s.registry.transition_model_version_stage("m", 9, "Staging", True)
    for given in ([], (), None, ["None"], ["staging", "Staging"], ["Production", "None", "Archived"], "Staging"):
        s.registry.get_latest_versions("m", given)
        s.registry.get_latest_versions(name="m", stages=given)
    s.registry.delete_model_version("m", 4)
    s.registry.set_registered_model_alias("m", "a", 5)
    state(s)


@scenario
def test_aliases(s):
    model(s, "m")
    for alias in ALIASES:
        s.registry.get_model_version_by_alias("m", alias)
    for _ in range(3):
        version(s, "m")
    for alias in ALIASES:
        s.registry.set_registered_model_alias("m", alias, 1)
        s.registry.get_model_version_by_alias("m", alias)
        s.registry.delete_registered_model_alias("m", alias)
        s.registry.delete_registered_model_alias("x", alias)
        s.registry.get_model_version_by_alias("x", alias)
        s.registry.set_registered_model_alias("x", alias, 1)
    for number in VERSIONS:
        s.registry.set_registered_model_alias("m", "numbered", number)
        s.registry.set_registered_model_alias("m", "a b", number)
    for alias, number in [("z", 1), ("a", 2), ("z", 3), ("b", "3"), ("A", 3), ("c", 1)]:
        s.registry.set_registered_model_alias("m", alias, number)
        s.registry.get_registered_model("m")
    for number in (1, 2, 3):
        s.registry.get_model_version("m", number)
    s.registry.transition_model_version_stage("m", 2, "Staging", False)
    s.registry.update_model_version("m", 3, "d")
    s.registry.get_latest_versions("m")
    s.registry.delete_registered_model_alias("m", "a")
    s.registry.delete_registered_model_alias("m", "a")
    s.registry.delete_model_version("m", 3)
    for alias in ("a", "z", "b", "A", "latest"):
        s.registry.get_model_version_by_alias("m", alias)
    s.registry.rename_registered_model("m", "n")
    s.registry.get_model_version_by_alias("n", "c")
    s.registry.get_model_version_by_alias("m", "c")
    state(s)


@scenario
def test_renames(s):
    model(s, "m", [("k", "v")], description="d")
    model(s, "taken")
    version(s, "m", given=[("a", "b")])
    version(s, "m")
    version(s, "m")
    s.registry.set_registered_model_alias("m", "c", 1)
    s.registry.set_registered_model_alias("m", "d", 2)
    s.registry.delete_model_version("m", 3)
    s.registry.transition_model_version_stage("m", 2, "Production", False)
    s.registry.rename_registered_model("m", "n")
    for name in ("m", "n"):
        s.registry.get_registered_model(name)
        s.registry.get_model_version(name, 1)
        s.registry.get_model_version_by_alias(name, "c")
        s.registry.get_latest_versions(name)
        s.registry.set_model_version_tag(name, 1, ModelVersionTag("x", "y"))
    s.registry.rename_registered_model("n", "taken")
    s.registry.rename_registered_model("n", "n")
    s.registry.rename_registered_model("m", "n")
    s.registry.rename_registered_model("gone", "taken")
    s.registry.rename_registered_model(name="n", new_name="N")
    model(s, "n")
    version(s, "n")
    version(s, "N")
    state(s)


@scenario
def test_sources(s):
    model(s, "m")
    model(s, "n")
    version(s, "m", "s3://b/1", run_id="r1")
    version(s, "m", "models:/m/1")
    version(s, "n", "models:/m/2", run_id="r2")
    s.registry.set_registered_model_alias("m", "a", 1)
    s.registry.transition_model_version_stage("m", 1, "Staging", False)
    for source in ["models:/m/9", "models:/m@none", "models:/x/1", "models:/x@a", "models:/m/1/sub", "models:/m", "models:/", "models:", "models:/m-" + "a" * 32, "models:/ /1", "models:/m/", "models:/m/0", "MODELS:/m/1", "runs:/" + "b" * 32 + "/p", "mlflow-artifacts:/x", "http://h/p", "file:///tmp/x", "/tmp/x", "../x", "dbfs:/x", "models:/m/1?a=b", "models:/m/1/", "x" * 600]:
        made = version(s, "n", source)
        if made is not None:
            s.registry.get_model_version_download_uri("n", made.version)
    version(s, "none", "models:/x/1")
    version(s, "none", "models:/m/1", given=[("a|", "b")])
    version(s, "n", "p", model_id="m-" + "c" * 32)
    version(s, "n", "p", model_id="", run_id="")
    version(s, "n", "p", model_id="bogus")
    version(s, "n", "p", model_id="m-" + "c" * 32, run_id="r")
    state(s)


@scenario
def test_logged_models(s):
    experiment = s.client.create_experiment("e")
    run = s.client.create_run(experiment)
    # What these calls answer is the tracking store's.
    logged = s.raw_client.create_logged_model(experiment, "lm", source_run_id=run.info.run_id).model_id
    other = s.raw_client.create_logged_model(experiment, "of no run").model_id
    s.value("ids", [logged, other])
    model(s, "m")
    for id in (logged, other):
        version(s, "m", f"models:/{id}")
        version(s, "m", f"models:/{id}", run_id="given")
        s.client.create_model_version("m", f"models:/{id}")
        version(s, "m", "s3://p", run_id="given")
        for more in ({}, {"run_id": "given"}, {"run_id": ""}):
            s.registry.create_model_version("m", "s3://p", model_id=id, **more)
            s.registry.create_model_version("m", f"models:/{id}", model_id=id, **more)
    for number in range(1, 23):
        s.registry.get_model_version_download_uri("m", number)
        s.client.get_model_version_download_uri("m", str(number))
    s.raw_client.delete_logged_model(other)
    version(s, "m", f"models:/{other}")
    version(s, "m", "s3://p", model_id=other)
    version(s, "m", "models:/m/1")
    # A copy outlives the logged model.
    for number in (5, 6, 15, 16):
        s.registry.copy_model_version(s.raw_registry.get_model_version("m", number), "copies")
        s.registry.get_model_version_download_uri("copies", 1)
    for id in (logged, other):
        s.value("tags", s.raw_client.search_logged_models([experiment])[0].tags)


@scenario
def test_copies(s):
    model(s, "m", [("k", "v")])
    first = version(s, "m", "s3://b/1", given=[("a", "b")], run_id="r", run_link="l", description="d")
    s.registry.set_registered_model_alias("m", "a", 1)
    s.registry.transition_model_version_stage("m", 1, "Production", False)
    first = s.registry.get_model_version("m", 1)
    copied = s.registry.copy_model_version(first, "n")
    s.registry.copy_model_version(first, "n")
    s.registry.copy_model_version(copied, "o")
    s.registry.copy_model_version(first, "m")
    s.registry.get_model_version_download_uri("o", 1)
    s.registry.copy_model_version(first, "a/b")
    s.registry.delete_model_version("m", 1)
    s.registry.copy_model_version(first, "z")
    s.registry.copy_model_version(copied, "z")
    for source in ["models:/n/1", "models:/n@none", "models:/m/1", "models:/x/1", "n/1", "runs:/x/y", "models:/n/9"]:
        s.client.copy_model_version(source, "client")
    state(s)


# Filters of models and of versions; both are asked all of them.
FILTERS = [
    "", " ", ";", "name = 'A'", 'name = "A"', "name = A", "name = `A`", "name='A'", "name != 'A'", "name LIKE 'A%'", "name like 'a%'",
    "name ILIKE 'a%'", "name ilike '%B%'", "name LIKE '%'", "name LIKE '_'", "name IN ('A', 'AB')", "name in ('A')", "name NOT IN ('A', 'b')",
    "name not in ('A')", "name IN ()", "name IN ('A',)", "name IN (A)", "name IN (1)", "name IN 'A'", "name IN (,)", "name = ('A')",
    "name > 'A'", "name >= 'A'", "name == 'A'", "name <> 'A'", "name RLIKE 'A'", "name NOT LIKE 'A%'", "name REGEXP 'A'", "name IS NULL", "name IS NOT NULL",
    "name = 5", "name = 1.5", "name", "= 'A'", "'A' = name", "name =", "name = 'A' AND", "AND name = 'A'", "name = 'A' AND AND name != 'b'",
    "name = 'A' name = 'A'", "name = 'A' and name LIKE 'A'", "name = 'A'; name = 'b'", "name = 'A';",
    "name = 'A', name = 'b'", "Name = 'A'", "NAME = 'A'", "`name` = 'A'", "'name' = 'A'", '"name" = \'A\'', "attribute.name = 'A'", "attributes.name = 'A'",
    "attr.name = 'A'", "Attribute.name = 'A'", "attribute.`name` = 'A'", "tag.k = 'v'", "tags.k = 'v'", "tags.k='v'", "tags.k != 'v'", "tags.k LIKE 'v%'", "tags.k ILIKE 'V%'",
    "tags.k like 'v%'", "tags.k = v", "tags.k = 5", "tags.k IN ('v')", "tags.k > 'v'", "tags.k IS NULL", "tags.k IS NOT NULL", "tags.`k` = 'v'", "tags.\"k\" = 'v'",
    "tags.'k' = 'v'", "tags.a.b = 'c'", "tags.`a.b` = 'c'", "tags.`a b` = 'c'", "tags.K = 'v'", "tags.k = 'v' AND tags.k = 'w'", "tags.k = 'v' AND tags.l = 'w'",
    "tags.k = 'v' AND tags.k != 'w'", "tags.none != 'v'", "Tags.k = 'v'", "metrics.k = 1", "params.k = 'v'", "run.name = 'A'", "tags = 'v'", ".k = 'v'",
    "tags.k = ''", "tags.e = ''", "tags.k LIKE '%'", "tags.k = 'it''s'", "tags.q = \"it's\"", "tags.k = \"v\"", "tags.k = `v`",
    f"tags.`{PROMPT}` = 'true'", f"tags.`{PROMPT}` = 'TRUE'", f"tags.`{PROMPT}` != 'false'", f"tags.`{PROMPT}` = 'false'", f"tags.`{PROMPT}` != 'true'",
    f"tag.{PROMPT} = 'true'", f"tags.`{PROMPT}` = 'true' AND name = 'p'", f"tags.`{PROMPT}` LIKE 'true'", f"tags.`{PROMPT}` = 'x'",
    f"tags.`{PROMPT}` = 'false' AND tags.`{PROMPT}` = 'true'", f"tags.`{PROMPT}` = 'true' AND tags.`{PROMPT}` = 'false'", f"tags.`{PROMPT}` = 'true' AND tags.k = 'v'",
    f"name LIKE '%' AND tags.`{PROMPT}` = 'false' AND tags.k = 'v'",
    "run_id = 'r1'", "run_id != 'r1'", "run_id IN ('r1', 'r2')", "run_id in ('r1')", "run_id NOT IN ('r1')", "run_id LIKE 'r%'", "run_id ILIKE 'R%'", "run_id = 5", "run_id = r1",
    "run_id IN ('r1',,'r2')", "run_id IN (\"r1\", 5)", "run_id IN ('')", "run_id IN ('r1', )", "run_id IN ( )", "run_id IN (NULL)", "run_id NOT IN ()", "run_id IN ('r1') AND name = 'A'", "run_id IS NULL", "run_id IN (\"r1\", 'r2')", "run_id = ''",
    "source_path = 's3://b/1'", "source_path LIKE 's3%'", "source_path ILIKE 'S3%'", "source_path IN ('x')", "source_path != 'p'", "source_path > 'a'", "source = 'x'", "alias = 'x'", "version = 1",
    "version_number = 1", "version_number = '1'", "version_number = ' 1 '", "version_number > 1", "version_number >= '2'", "version_number != 1", "version_number < 2", "version_number <= 1", "version_number = 1.5", "version_number = '1.5'",
    "version_number = 'a'", "version_number IN (1)", "version_number IN ('1')", "version_number LIKE '1'", "version_number == 1", "version_number = -1", "version_number = 99999999999", "version_number = ''", "version_number = one",
    "creation_timestamp > 0", "last_updated_timestamp > 0", "current_stage = 'None'", "description = 'd'", "status = 'READY'", "user_id = 'x'", "workspace = 'default'", "aliases = 'a'", "latest_versions = 'x'",
    "name = 'A' AND run_id = 'r1' AND version_number >= 1 AND tags.k = 'v'", "name = 'A' -- comment", "name = 'A' /* c */", "name BETWEEN 'A' AND 'B'", "name = 'A\nB'", "name = 'x%' AND", "foo bar", "1 = 1", "*", "%", "name LIKE", "name 'A'", "name = 'it''s'", "name = \"it's\"", "name = 'A\"", "name = 'A", "name = ''", "name LIKE ''", "a.b.c = 'd'",
]  # fmt: skip
ORDERS = [
    [], ["name"], ["name ASC"], ["name desc"], ["NAME"], ["timestamp"], ["timestamp DESC"], ["last_updated_timestamp"], ["last_updated_timestamp DESC", "name DESC"], ["creation_timestamp"], ["creation_timestamp DESC"], ["version_number"],
    ["version_number DESC", "name"], ["name", "name"], ["name", "name DESC"], ["timestamp", "last_updated_timestamp"], ["name FOO"], ["name ASC DESC"], ["name,timestamp"], [""], [" "], ["`name`"], ["'name'"], ['"name"'], ["attribute.name"], ["attribute.`name`"],
    ["attributes.name DESC"], ["tag.k"], ["tags.k"], ["run_id"], ["source_path"], ["current_stage"], ["foo"], ["metrics.x"], ["name  ASC"], ["name asc;"], "name", ("name DESC",), ["name DESC", "version_number ASC"], ["name DESC NULLS LAST"], ["name.x"], ["Name DESC"], ["name = 'x'"],
]  # fmt: skip
LIMITS = [0, 1, 2, 1000, 1001, 200_000, 200_001, "5", True]
TOKENS = [None, "", "abc", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAxMDAwfQ==", "eyJvZmZzZXQiOiAieCJ9", "W10=", "é", "MQ==", "eyJvZmZzZXQiOiAxLjV9", 5]


# Ours, where MLflow refuses.
WIDER = ["name = 'A' OR name = 'b'", "NOT name = 'A'", "(name = 'A')", "(name = 'A' OR tags.k = 'v') AND name != 'b'"]


def filled(s):
    model(s, "A", [("k", "v"), ("l", "w"), ("q", "it's")])
    model(s, "AB", [("k", "w"), ("a.b", "c"), ("e", "")], description="d")
    model(s, "b", [("k", "v"), ("a b", "c")])
    model(s, "B")
    model(s, "a_b", [("K", "v")])
    model(s, "p", [(PROMPT, "true"), ("k", "v")])
    model(s, "q", [(PROMPT, "false"), ("k", "v")])
    model(s, "P", [(PROMPT, "TRUE")])
    version(s, "A", "s3://b/1", [("k", "v"), ("l", "w")], run_id="r1")
    version(s, "A", "s3://b/2", [("k", "w")], run_id="r2")
    version(s, "b", "p", [("k", "v"), ("e", "")])
    version(s, "B", "S3://B/1", [("a.b", "c"), ("a b", "c"), ("q", "it's")], run_id="")
    version(s, "p", "dummy-source", [(PROMPT, "true"), ("k", "v")])
    version(s, "p", "dummy-source", [(PROMPT, "true"), ("mlflow.prompt.text", "hi")])
    version(s, "P", "x")
    version(s, "q", "x", [(PROMPT, "false")])
    version(s, "AB", "x", [(PROMPT, "true")])
    version(s, "AB", "x")
    version(s, "A", "s3://b/3", run_id="r1")
    s.registry.delete_model_version("A", 3)
    s.registry.set_registered_model_alias("A", "a", 1)
    s.registry.transition_model_version_stage("A", 1, "Staging", False)
    s.registry.update_model_version("b", 1, "d")


@scenario
def test_filters_of_models(s):
    filled(s)
    for text in FILTERS:
        s.registry.search_registered_models(text)
    for text in WIDER:
        s.registry.unlike("OR, NOT and parentheses are ours").search_registered_models(text)


@scenario
def test_filters_of_versions(s):
    filled(s)
    for text in FILTERS:
        s.registry.search_model_versions(text)
    for text in WIDER:
        s.registry.unlike("OR, NOT and parentheses are ours").search_model_versions(text)


@scenario
def test_orders(s):
    filled(s)
    for order in ORDERS:
        s.registry.search_registered_models(None, 100, order)
        s.registry.search_model_versions(None, 100, order)


@scenario
def test_pages(s):
    filled(s)
    for limit in (0, -1):
        s.registry.unlike("an empty page with a senseless token").search_registered_models(max_results=limit)
    for limit in (2.0, 2.5):
        s.registry.search_registered_models(max_results=limit)
    for limit in (0, -1, 2.0, 2.5):
        s.registry.search_model_versions(max_results=limit)
    s.registry.unlike("None is the default").search_model_versions(max_results=None)
    for call in (s.registry.search_registered_models, s.registry.search_model_versions):
        for limit in LIMITS:
            call(max_results=limit)
            call(None, limit, ["foo"], "bar")
        for token in TOKENS:
            call(None, 2, None, token)
            call("name LIKE 'A%'", 1, ["name DESC"], token)
        for limit in (1, 2, 3, 4, 100):
            pages(call, "name != 'zz'", limit, ["name DESC"])
        call("name = 'none'", 1)


@scenario
def test_prompts(s):
    r = s.registry
    r.create_prompt("p", "d", {"a": "1"})
    r.create_prompt("p")
    r.create_registered_model("m")
    r.create_prompt("m")
    r.create_registered_model("p")
    r.create_prompt("a/b")
    r.get_prompt("p"), r.get_prompt("m"), r.get_prompt("x"), r.get_prompt("")
    r.create_prompt_version("p", "hi {{name}}", "d", {"t": "1"})
    r.create_prompt_version("p", [{"role": "user", "content": "{{x}}"}], response_format={"type": "object"}, model_config={"temperature": 0.5})
    r.create_prompt_version("p", "")
    r.create_prompt_version("p", "x" * 100_000)
    r.create_prompt_version("p", "x" * 100_001)
    r.create_prompt_version("x", "t")
    r.create_prompt_version("m", "t")
    for number in (*VERSIONS, 3):
        r.get_prompt_version("p", number)
        r.get_prompt_version("m", number)
        r.get_prompt_version("x", number)
        r.set_prompt_version_tag("p", number, "k", "v")
        r.delete_prompt_version_tag("p", number, "k")
    r.set_prompt_alias("p", "a", 1), r.set_prompt_alias("p", "a", "2"), r.set_prompt_alias("p", "latest", 1), r.set_prompt_alias("x", "a", 1)
    r.get_prompt_version_by_alias("p", "a"), r.get_prompt_version_by_alias("p", "b"), r.get_prompt_version_by_alias("p", "latest")
    r.delete_prompt_alias("p", "a"), r.delete_prompt_alias("p", "a")
    r.set_prompt_tag("p", "k", "v"), r.set_prompt_tag("p", PROMPT, "x"), r.set_prompt_tag("p", PROMPT, "true"), r.delete_prompt_tag("p", "a"), r.set_prompt_tag("x", "k", "v")
    r.create_prompt("o", None, {"_mlflow_experiment_ids": ",1,2,"})
    for text in (None, "", "name = 'p'", "tags.k = 'v'", "experiment_id = '1'", "experiment_id = '3' AND name = 'o'", "experiment_id = 'x'", "name LIKE 'p%'", "foo = 'x'", "name = 'm'"):
        r.search_prompts(text)
        s.client.search_prompts(text)
    r.search_prompts(None, 1), r.search_prompts(None, 1, ["name DESC"]), r.search_prompts(max_results=1001)
    r.search_prompt_versions("p"), r.search_prompt_versions("p", 2), r.search_prompt_versions("p", 2, "eyJvZmZzZXQiOiAyfQ=="), r.search_prompt_versions("m"), r.search_prompt_versions("x")
    r.delete_prompt_version("p", 1), r.delete_prompt_version("p", "x"), r.delete_prompt_version("p", 9)
    r.delete_prompt("m"), r.delete_prompt("p"), r.delete_prompt("p")
    state(s)


def test_tracking_is_elsewhere(tmp_path, template, monkeypatch):
    def script(s):
        experiment = s.client.create_experiment("e")
        run = s.client.create_run(experiment)
        logged = s.raw_client.create_logged_model(experiment, "lm", source_run_id=run.info.run_id).model_id
        other = s.raw_client.create_logged_model(experiment, "of no run").model_id
        version(s, "m", f"models:/{logged}")
        model(s, "m")
        for id in (logged, other, "m-" + "0" * 32):
            for source in (f"models:/{id}", "s3://b/p"):
                for more in ({}, {"model_id": id}, {"model_id": id, "run_id": "given"}):
                    made = version(s, "m", source, [("a", "b")], **more)
                    if made is not None:
                        s.registry.get_model_version_download_uri("m", made.version)
            version(s, "m", f"models:/{id}", [("a|", "b")])
            s.client.create_model_version("m", f"models:/{id}", model_id=id)
        s.registry.copy_model_version(s.raw_registry.get_model_version("m", 1), "n")
        state(s)

    monkeypatch.chdir(tmp_path)
    words = [(tmp_path, "<folder>")]
    for name in ("one", "two", "registry"):
        shutil.copy(template, tmp_path / f"{name}.db")
    sql = Side("sqlite:///one.db", words, "sqlite:///registry.db")
    ours = Side("sqlite:///two.db", words, f"runlode://{tmp_path}/store")
    compare(script, (sql, ours))
