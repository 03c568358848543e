"""Every link between pages leads somewhere; generated pages are as they should be."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.generate import pages
from tests.docs.test_blocks import PAGES

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def broken_links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name
)
def test_links(page: Path) -> None:
    assert not [*broken_links(page)]


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](other.md) [d](https://x.example)")
    assert [*broken_links(page)] == ["#two", "other.md"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_generated_pages_are_up_to_date(page: Path) -> None:
    """`make docs` writes them."""
    assert page.read_text() == pages()[page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    reached: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        here = todo.pop()
        if here in reached or here.suffix != ".md":
            continue
        reached.add(here)
        links = (link.partition("#")[0] for link in _LINK.findall(here.read_text()))
        found = ((here.parent / link).resolve() for link in links if link)
        todo += [one for one in found if one.exists() and "://" not in str(one)]
    assert page in reached


SOURCES = [path.relative_to(ROOT) for path in ROOT.glob("*/**/*.py")]
_FILE = re.compile(r"(?<![\w.])((?:\w+/)*\w+\.py)\b")


def missing_files(text: str) -> Iterator[str]:
    """Yield the files that a page names and that are not there.

    Pages name them from the root, from gomlx/ on, or by their name alone.
    """
    known = {str(path) for path in SOURCES}
    for name in _FILE.findall(text):
        if not any(path == name or path.endswith(f"/{name}") for path in known):
            yield name


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text().replace("pricing.py", "")  # the reader's own
    assert not [*missing_files(text)]


def test_a_missing_file_is_found() -> None:
    text = "gomlx/errors.py, `cache/tiered.py`, tier.py, cache/nothing.py"
    assert [*missing_files(text)] == ["cache/nothing.py"]
