"""What the config may say of who may do what, and what it leaves open."""

from pathlib import Path

import pytest

from gomlx.config.access import exposures, hidden
from tests.cli.test_cli import gomlx
from tests.config.conftest import MINIMAL, loaded, problems

TLS = "tls: {certificate: c.pem, client_ca: ca.pem, client_certificate: optional}"


def text(*lines: str) -> str:
    return MINIMAL + "endpoint:\n" + "".join(f"  {line}\n" for line in lines)


def client(options: str) -> str:
    return f"auth: {{clients: [{{name: a, {options}}}]}}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("auth: {clients: []}", "endpoint.auth.clients"),
        (client("models: [ml0]"), "clients[0]: expected a token_file, or subjects"),
        (client("token_file: t, models: [x]"), "clients[0].models[0]: no model 'x'"),
        (client("subjects: [CN=a]"), "subjects: expected endpoint.tls"),
        (
            f"{TLS}\n  {client('subjects: [CN=a, b]')}",
            "clients[0].subjects[1]: expected names such as CN=batch, got 'b'",
        ),
        (client("token_file: t}, {name: a, token_file: u"), "clients[1].name: 'a'"),
        ("admin: {}", "endpoint.admin: expected a token_file, or a port"),
        ("admin: {token_file: t, allow: ['::1']}", "endpoint.admin.allow: only"),
        ("admin: {port: 9090, allow: ['10.1']}", "allow[0]: expected an address or"),
        ("admin: {port: 9090, allow: [10.1.2.3/8]}", "allow[0]: expected an address"),
        ("admin: {port: 8080}", "endpoint.admin.port: 8080 is the endpoint's"),
    ],
)
def test_contradictions(path: Path, line: str, problem: str) -> None:
    (found,) = problems(path, text(line))
    assert problem in found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["host: 127.0.0.1"], []),
        (["host: '::1'"], []),
        (["host: 0.0.0.0"], ["may ask for predictions", "may see metrics"]),
        (
            ["host: 0.0.0.0", client("token_file: t")],
            ["in the clear", "no client may see metrics"],
        ),
        (["host: '::'", "admin: {token_file: t}"], ["predictions", "in the clear"]),
        (["admin: {port: 9090}"], []),
        (["admin: {port: 9090, host: 0.0.0.0}"], ["0.0.0.0:9090 may see metrics"]),
        (["admin: {port: 9090, host: 0.0.0.0, allow: [10.0.0.0/8]}"], []),
        (
            ["admin: {port: 9090, host: 0.0.0.0, token_file: t}"],
            ["tokens of admins come to 0.0.0.0:9090 in the clear"],
        ),
        (
            [TLS, "host: 0.0.0.0", client("token_file: t"), "admin: {port: 1}"],
            [],
        ),
    ],
)
def test_what_is_open(path: Path, lines: list[str], found: list[str]) -> None:
    endpoint = loaded(path, text(*lines)).endpoint
    warnings = [*exposures(endpoint), *hidden(endpoint)]
    assert len(warnings) == len(found), warnings
    for warning, part in zip(warnings, found, strict=True):
        assert part in warning


def test_files_are_relative_to_the_config(path: Path) -> None:
    config = loaded(path, text(client("token_file: secrets/t"), "admin: {port: 0}"))
    assert config.endpoint.auth
    (known,) = config.endpoint.auth.clients
    assert known.token_file == str(path.parent / "secrets/t")


def test_check_says_what_is_open(path: Path) -> None:
    path.write_text(text("host: 0.0.0.0"))
    done = gomlx("check", path, "--quick", cwd=path.parent)
    said = " ".join((done.stdout + done.stderr).split())
    assert "whoever reaches 0.0.0.0:8080 may ask for predictions" in said
    assert "set endpoint.admin" in said


def test_check_reads_the_files_of_tokens(path: Path) -> None:
    path.write_text(text(client("token_file: tokens")))
    (path.parent / "tokens").write_text("0123456789abcdef\n")
    (path.parent / "tokens").chmod(0o644)
    done = gomlx("check", path, "--quick", cwd=path.parent)
    assert done.returncode == 2
    assert "its mode is 0644" in done.stdout + done.stderr
