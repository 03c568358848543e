"""The page of the conformance suite's results."""

from pathlib import Path

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.conformance.options import RunOptions, Server
from gomlx.conformance.suite import CHECKS
from gomlx.conformance.verdict import CheckOutcome, CheckResult, Exchange
from loadtests.conformance import page
from loadtests.conformance.servers import Trial

URL = "http://127.0.0.1:8000"


def tried(name: str, wrong: str) -> page.Tried:
    """Every check right, but one."""
    exchange = Exchange(
        URL, HttpRequest("POST", "/ask", b'{"x":1}'), HttpReply(200, {}, b'{"y":3}')
    )
    outcomes = [
        CheckOutcome(
            check.name, check.question, CheckResult.wrong, "3 | 2", (exchange,), [2]
        )
        if check.name == wrong
        else CheckOutcome(check.name, check.question, CheckResult.right, "seen")
        for check in CHECKS
    ]
    options = RunOptions(Server(URL, Path("models")))
    return page.Tried(Trial(name, {name: "1.0"}, "local", options), outcomes)


def test_a_table_a_server_a_column_and_each_wrong_answer() -> None:
    lines = [*page.section([tried("One", ""), tried("Two", "shapes")], "2026-01-01")]
    assert "| One | One 1.0 | local |" in lines
    assert "| `shapes` | right | **wrong** |" in lines
    assert "| `shapes` | wrong | 3 \\| 2 |" in lines
    assert "## The wrong answers of One" not in lines
    start = lines.index("## The wrong answers of Two")
    assert lines[start + 2 :] == [
        "`shapes`: 3 \\| 2",
        "",
        "```text",
        "curl -s http://127.0.0.1:8000/ask -d '{\"x\":1}'",
        '  200 {"y":3}',
        "  right: [2]",
        "```",
        "",
    ]


def test_the_committed_page_has_every_check() -> None:
    text = page.PAGE.read_text()
    section = text.partition(page.BEGIN)[2].partition(page.END)[0]
    for check in CHECKS:
        assert f"| `{check.name}` | " in section
