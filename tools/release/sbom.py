"""Writes what a package is built from, as CycloneDX 1.5: its crates with versions, licenses, hashes and dependencies.

    python3 tools/release/sbom.py PACKAGE FILE

Build scripts, macros that run in the compiler, tests, features that are off, and platforms other than this machine's are
left out: they are not in what is published.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]


def metadata():
    host = re.search(r"^host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True), re.MULTILINE)[1]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host]
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True))


def built(name):
    """The crates that a build of the package alone has, as (name, version): `cargo metadata` knows the features of the
    whole workspace only."""
    command = ["cargo", "tree", "--locked", "-p", name, "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    lines = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines if line.strip()}


def checksums():
    """The SHA-256 of each crate of a registry, by name and version."""
    found = {}
    for entry in (ROOT / "Cargo.lock").read_text().split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', entry, re.MULTILINE))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def linked(nodes, root):
    """The ids of all packages that end up in the root's library or binary, with the ids that each depends on."""
    found, left = {}, [root]
    while left:
        one = left.pop()
        if one in found:
            continue
        normal = (dep["pkg"] for dep in nodes[one]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
        found[one] = sorted(set(normal))
        left += found[one]
    return found


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums):
    made = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["description"]:
        made["description"] = " ".join(package["description"].split())
    if package["license"]:
        # Old crates write a slash.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := sums.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def sbom(name):
    found, sums = metadata(), checksums()
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    roots = [id for id in found["workspace_members"] if packages[id]["name"] == name]
    if not roots:
        sys.exit(f"there is no package {name} in this workspace")
    parts = built(name)
    is_built = {id: (package["name"], package["version"]) in parts for id, package in packages.items()}
    inside = {
        id: [dep for dep in deps if is_built[dep]] for id, deps in linked(nodes, roots[0]).items() if is_built[id]
    }
    root = component(packages[roots[0]], sums)
    root["type"] = "application" if any("bin" in target["kind"] for target in packages[roots[0]]["targets"]) else "library"
    parts = sorted((component(packages[id], sums) for id in inside if id != roots[0]), key=lambda part: part["bom-ref"])
    depends = [
        {"ref": reference(packages[id]), "dependsOn": sorted(reference(packages[dep]) for dep in deps)}
        for id, deps in sorted(inside.items(), key=lambda item: reference(packages[item[0]]))
    ]
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", 0)), datetime.timezone.utc)
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": root},
        "components": parts,
        "dependencies": depends,
    }
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made))}"
    return made


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    made = sbom(sys.argv[1])
    pathlib.Path(sys.argv[2]).write_text(json.dumps(made, indent=1) + "\n")
    print(f"{sys.argv[2]}: {len(made['components'])} components")
