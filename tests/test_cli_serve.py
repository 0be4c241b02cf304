"""Tests of `recae serve`: what it refuses before it serves, its warning, and its token."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from commands import recae, refused
from shopserver import server, shop

import recae.serving.server as recae_server
from recae.cli.serve import _is_loopback
from recae.errors import ConfigError
from recae.modelfile import save
from recae.serving.server import bind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(shop(), tmp_path / "m.recae")
    return tmp_path / "m.recae"


def test_a_port_that_is_taken(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(recae("serve", "--model", path, "--port", str(port)), f"port {port}", "in use", "--port")


def test_addresses_that_are_not_here(path: Path) -> None:
    refused(recae("serve", "--model", path, "--host", "203.0.113.7", "--port", "0"), "203.0.113.7")
    refused(
        recae("serve", "--model", path, "--host", "no such host", "--port", "0"), "no such host", "--host"
    )
    refused(recae("serve", "--model", path, "--host", "x" * 70 + ".example"), "cannot listen")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    refused(recae("serve", "--model", tmp_path / "none.recae", "--port", "0"), "no model file")
    (tmp_path / "bad.recae").write_text("nonsense")
    refused(recae("serve", "--model", tmp_path / "bad.recae", "--port", "0"), "bad.recae")


@pytest.mark.parametrize("module", ["uvicorn", "fastapi_offline", "prometheus_client"])
def test_a_missing_extra(path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused(recae("serve", "--model", path, "--port", "0"), module, "pip install 'recae[serve]'")


@pytest.mark.parametrize("token", ["a b", "Zoë", "x\n", ""])
def test_tokens_that_no_header_carries(path: Path, token: str) -> None:
    refused(recae("serve", "--model", path, "--port", "0", "--token", token), "openssl rand")


@pytest.mark.parametrize(
    "option", [("--port", "65536"), ("--threads", "0"), ("--queue", "0"), ("--max-body", "0")]
)
def test_options_out_of_range(path: Path, option: tuple[str, str]) -> None:
    result = recae("serve", "--model", path, *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr


def test_a_warning_where_others_can_connect(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def served(path: Path, listener: socket.socket, **options: Any) -> None:
        told.update(options)
        options["on_start"]("a model")
        listener.close()

    monkeypatch.setattr(recae_server, "serve", served)
    result = recae("serve", "--model", path, "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 0
    assert "warning: everybody who reaches 0.0.0.0" in result.stderr
    assert "serving" in result.stderr
    monkeypatch.setenv("RECAE_TOKEN", "abc")
    result = recae("serve", "--model", path, "--host", "0.0.0.0", "--port", "0", "--no-reload")
    assert "warning:" not in result.stderr
    assert (told["token"], told["reload"], told["threads"]) == ("abc", False, 1)
    assert "warning:" not in recae("serve", "--model", path, "--host", "localhost", "--port", "0").stderr
    if socket.has_dualstack_ipv6():
        assert "http://[::1]:" in recae("serve", "--model", path, "--host", "::1", "--port", "0").stderr


def test_loopback() -> None:
    assert _is_loopback("127.0.0.1")
    assert _is_loopback("127.3.2.1")
    assert _is_loopback("::1")
    assert not _is_loopback("0.0.0.0")
    assert not _is_loopback("fe80::1%eth0")


def test_a_socket_listens_only_later() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=5)
    with pytest.raises(ConfigError, match="cannot listen"):
        bind("256.1.1.1", 0)


def test_the_token_from_the_environment_and_the_access_log(path: Path) -> None:
    with server(path, "--access-log", RECAE_TOKEN="abc") as (process, url):
        where = urlsplit(url)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=20)
        for headers, status in (({}, 401), ({"Authorization": "Bearer abc"}, 200)):
            connection.request("GET", "/users/u1/items", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert b'"GET /users/u1/items HTTP/1.1" 200' in said
        assert b"abc" not in said
