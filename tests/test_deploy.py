"""Tests of the recipes in deploy/: files parse, commands exist with their options, and a read-only root is enough."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from commands import ROOT, recae, table, trained

from recae.cli import main

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
KUBERNETES = {
    (found["kind"], found["metadata"]["name"]): found
    for found in yaml.safe_load_all((DEPLOY / "kubernetes" / "recae.yaml").read_text(encoding="utf-8"))
}


def commands(text: str) -> Iterator[list[str]]:
    """The commands of recae in a text, with shell variables as they stand there."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.findall(
            r"(?:^|[\s\"'/])recae ((?:train|score|serve|doctor|warmup|inspect)\b.*)", line
        ):
            try:
                yield shlex.split(found, comments=True)
            except ValueError:  # the quotation mark at the end belongs to what stands around it
                yield shlex.split(found.rstrip("\",'"), comments=True)


def check(arguments: list[str]) -> None:
    """Raise a usage error for what a command does not take."""
    name, *rest = arguments
    main.commands[name].make_context(name, rest).close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_commands_exist_with_their_options(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = list(commands(text))
    for arguments in found:
        check(arguments)
    if path.name in ("nightly", "recae_nightly.py", "recae-serve.service", "Containerfile", "recae.yaml"):
        assert found, path
    for named in re.findall(r"deploy/[\w./-]+\w", text):
        assert (ROOT / named).exists() or named == "deploy/password.txt", named


def test_scripts_are_shell() -> None:
    for name in ("nightly", "entrypoint"):
        subprocess.run(["sh", "-n", DEPLOY / name], check=True)
        assert os.access(DEPLOY / name, os.X_OK)
    loop = COMPOSE["configs"]["nightly-loop"]["content"].replace("$$", "$")
    nightly = KUBERNETES["ConfigMap", "recae-nightly"]["data"]["nightly"]
    for text in (loop, nightly):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_the_container_is_without_rights() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER \d+$", final, re.MULTILINE)
    assert "-c scripts/constraints.txt -r deploy/slim.txt" in text
    assert "recae warmup" in text
    check(yaml.safe_load(re.search(r"^CMD (.*)$", final, re.MULTILINE)[1]))  # type: ignore[index]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for name in (line[1:] for line in ignored if line.startswith("!")):
        assert (ROOT / name).exists(), name


def test_compose() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"db", "serve", "nightly"}
    for name in ("serve", "nightly"):
        service = services[name]
        assert service["read_only"] is True
        assert "/tmp" in service["tmpfs"]
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
        assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    check(services["serve"]["command"])
    assert all(port.startswith("127.0.0.1:") for port in services["serve"]["ports"])
    for config in services["nightly"]["configs"]:
        assert config["source"] in COMPOSE["configs"]
    assert (DEPLOY / COMPOSE["configs"]["nightly"]["file"]).samefile(DEPLOY / "nightly")


def pods() -> dict[str, Any]:
    return {
        "serve": KUBERNETES["Deployment", "recae"]["spec"]["template"]["spec"],
        "nightly": KUBERNETES["CronJob", "recae-nightly"]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    }


@pytest.mark.parametrize("name", ["serve", "nightly"])
def test_kubernetes(name: str) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"]["memory"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert {"/models", "/tmp"} <= set(mounts)
    for volume in volumes.values():
        if claim := volume.get("persistentVolumeClaim"):
            assert ("PersistentVolumeClaim", claim["claimName"]) in KUBERNETES
        if config := volume.get("configMap"):
            assert ("ConfigMap", config["name"]) in KUBERNETES
    if name == "serve":
        check(container["args"])
        selector = KUBERNETES["Deployment", "recae"]["spec"]["selector"]["matchLabels"]
        assert selector == KUBERNETES["Service", "recae"]["spec"]["selector"]
        paths = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
        from recae.serving.guard import _OPEN

        assert paths <= _OPEN  # no token is sent by a probe


def test_crontab() -> None:
    lines = (DEPLOY / "crontab").read_text(encoding="utf-8").splitlines()
    (job,) = [line for line in lines if re.match(r"[\d*]", line)]
    assert re.match(r"\d+ \d+ \* \* \* flock -n \S+ \S+/nightly ", job)
    assert all(re.match(r"#|[A-Z_]+=|\d", line) for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_units(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        # with programs that are here in the place of those that are to be there
        text = re.sub(
            r"^(ExecStart=)\S+", r"\1/bin/true", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        (tmp_path / path.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert [line for line in found.stderr.splitlines() if str(tmp_path) in line or "recae" in line] == []


def test_the_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with stubs of Airflow that record what is made."""
    made: dict[str, Any] = {}
    order: list[tuple[str, str]] = []

    class Operator:
        def __init__(self, task_id: str, bash_command: str, **options: Any) -> None:
            self.name = task_id
            made[task_id] = bash_command

        def __rshift__(self, other: Operator) -> Operator:
            order.append((self.name, other.name))
            return other

    class Dag:
        def __init__(self, **options: Any) -> None:
            made.update(options)

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

    for name, content in {
        "pendulum": {"datetime": lambda *given, **named: given, "duration": lambda **named: named},
        "airflow": {},
        "airflow.sdk": {"DAG": Dag},
        "airflow.providers": {},
        "airflow.providers.standard": {},
        "airflow.providers.standard.operators": {},
        "airflow.providers.standard.operators.bash": {"BashOperator": Operator},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    path = DEPLOY / "airflow" / "recae_nightly.py"
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    exec(compile(text, str(path), "exec"), {"__name__": "dag"})
    assert order == [("check", "train"), ("train", "score")]
    assert made["max_active_runs"] == 1
    for name in ("check", "train", "score"):
        check(shlex.split(made[name])[1:])
    assert "--run-id '{{ ds }}'" in made["score"]


# a read-only root

READ_ONLY = """
set -eu
mount --make-rprivate /
mount -o remount,ro,bind /
mount -t tmpfs tmpfs /tmp -o size=256m
cp -R "$KEPT_LOOPS" /tmp/loops 2>/dev/null || mkdir -p /tmp/loops
if touch /written "$HOME/written" /var/tmp/written 2>/dev/null; then echo "the root can be written to"; exit 9; fi
export NUMBA_CACHE_DIR=/tmp/loops HOME=/tmp XDG_CACHE_HOME=/tmp PYTHONDONTWRITEBYTECODE=1
cd /tmp
"$PYTHON" -m recae score --model "$MODEL" --out /tmp/recs.csv --top 3
"$PYTHON" -m recae recommend --model "$MODEL" --user u7 --csv
wc -l </tmp/recs.csv
"$PYTHON" -m recae serve --model "$MODEL" --port 0 2>/tmp/serve.log &
server=$!
for i in $(seq 300); do grep -q serving /tmp/serve.log && break; sleep 0.1; done
url=$(grep -o 'http://[0-9.:]*/' /tmp/serve.log)
"$PYTHON" -c "import urllib.request as r; print(r.urlopen('${url}health').status)"
kill $server
"""


def may_mount() -> bool:
    """Whether namespaces of one's own are allowed here."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.thorough
@pytest.mark.skipif(not may_mount(), reason="namespaces are not allowed here")
def test_a_root_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(table())
    trained(tmp_path / "p.csv", "--kind", "sigmoid", "--out", tmp_path / "m.recae")
    expected = recae("recommend", "--model", tmp_path / "m.recae", "--user", "u7", "--csv").stdout
    held = (
        Path("/var/tmp" if tmp_path.is_relative_to("/tmp") else tmp_path) / f"recae-test-{os.getpid()}.recae"
    )
    shutil.copy(tmp_path / "m.recae", held)  # /tmp is another one there
    try:
        found = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh"],
            input=READ_ONLY,
            env=os.environ
            | {
                "MODEL": str(held),
                "PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
                "KEPT_LOOPS": os.environ.get("NUMBA_CACHE_DIR", "/nowhere"),
            },
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        held.unlink()
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout == f"{expected}181\n200\n"
