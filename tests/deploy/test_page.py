"""The page in a real Chromium: what it shows, to whom, and what it does not let in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gomlx.config.load import load_config
from gomlx.errors import ConfigInvalid
from gomlx.metrics.distinct import RecentValues
from tests.deploy.shown import (
    MARKUP,
    VIEWS,
    chromium,
    open_view,
    send_some,
    shown_service,
)
from tests.deploy.tools import program
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

WIDE = {"width": 1000, "height": 760}
NARROW = {"width": 320, "height": 640}
MILLISECONDS = 30_000  # at most, for what a page is to show
TOKEN = "0123456789abcdef-token"


@pytest.fixture(scope="module")
def service(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service; the browser comes first: where there is none, nothing starts."""
    with shown_service(tmp_path_factory.mktemp("shown"), {MARKUP: 1}) as service:
        random = Random(3)

        def has_opened() -> bool:
            """Whether the breaker of the tier that is down has."""
            with service.connect() as client:
                send_some(client, random)
            return bool(service.ready()["tiers"]["answers"]["far"]["state"] != "closed")

        wait_for(has_opened)
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="extra deploy-test")
    with chromium(program("chromium")) as browser:
        yield browser


@contextmanager
def page_of(browser: Any, **options: Any) -> Iterator[Any]:
    """Open an empty page whose console must stay empty."""
    page = browser.new_page(**{"viewport": WIDE, **options})
    page.set_default_timeout(MILLISECONDS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with page_of(browser) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_fault_that_axe_finds(
    browser: Any, service: Service, view: str, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    # Without the policy: it does not let axe in, either.
    with page_of(browser, color_scheme=scheme, bypass_csp=True) as page:
        open_view(page, service, view)
        if view == "try":
            predict(page, compares=True)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert len(found.response["passes"]) > 15  # it has looked


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_a_narrow_screen(
    browser: Any, service: Service, view: str, tmp_path: Path
) -> None:
    with page_of(browser, viewport=NARROW) as page:
        open_view(page, service, view)
        if view == "try":
            predict(page, compares=True)
        for box in page.locator("main *:visible").all():
            found = box.bounding_box()
            assert found is None or found["x"] + found["width"] <= NARROW["width"] + 1
        assert len(page.screenshot(path=tmp_path / "page.png")) > 1000


def predict(page: Any, compares: bool = False) -> None:
    """Send the form, and wait for the result."""
    if compares:
        page.check("#try-compare")
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector("#try-result .card")


def test_models_are_shown_as_they_are(page: Any, service: Service) -> None:
    open_view(page, service, "models")
    cards = {
        card.locator("h3").inner_text(): card.inner_text()
        for card in page.locator("#models-list article").all()
    }
    own = ["flights", "flights:serve", "cities", "cities:serve"]
    assert list(cards) == [*own, "words", "scale", "absent"]
    assert service.version("flights")[:12] in cards["flights"]
    assert "ready" in cards["flights"]
    assert " ago" in cards["flights"]
    assert "no datastore" in cards["scale"]
    assert "cannot be served" in cards["absent"]
    assert MARKUP in cards["absent"]  # in its problem
    assert page.locator("#summary").inner_text().endswith("1 with a problem")


def test_traffic_is_shown_with_its_units(page: Any, service: Service) -> None:
    open_view(page, service, "traffic")
    with service.connect() as client:
        send_some(client, Random(3))
    legend = page.locator("figure", has_text="Hit rate by tier").locator(".legend")
    page.wait_for_selector(".legend li:has-text('answers L1') b:has-text('%')")
    assert legend.locator("li").count() == 4  # three tiers, and the other datastore
    figures = page.locator(".figures").inner_text().split("\n")
    values = dict(zip(figures[::2], figures[1::2], strict=True))
    assert values["Requests"].endswith("/s")
    assert values["Hit rate"].endswith("%")
    assert values["Median"].split()[1] in ("µs", "ms")
    assert values["Waiting rows"] == "0"
    page.select_option("#traffic-model", "scale")
    page.wait_for_selector(".figures div:has-text('Hit rate') dd:has-text('\u2013')")


def test_charts_are_read_by_keyboard(page: Any, service: Service) -> None:
    open_view(page, service, "traffic")
    figure = page.locator("figure", has_text="Requests").first
    wait_for(lambda: figure.locator("canvas").count())
    plot = figure.locator(".plot")
    assert "last 15 minutes; now answered" in plot.get_attribute("aria-label")
    plot.focus()

    def shows_a_time() -> bool:
        page.keyboard.press("Home")  # has no effect before there are two points
        return ":" in figure.locator("time").inner_text()

    wait_for(shows_a_time)


def test_the_key_space_is_that_of_inspect(page: Any, service: Service) -> None:
    open_view(page, service, "keys")
    found = service.get("/v1/api/model/flights/meta/inspect").json()
    cards = page.locator("#keys-inputs article")
    assert cards.count() == len(found["inputs"])
    widest = page.locator("#keys-inputs article", has_text="distance").inner_text()
    assert "15 values" in widest
    assert f"{found['key_space']:,} keys" in page.locator("#keys-lead").inner_text()
    page.select_option("#keys-model", "scale")
    page.wait_for_selector("#keys-lead:has-text('x costs most hits')")
    assert "no bound" in cards.first.inner_text()
    sample = RecentValues(service.files.metrics, 99)  # as of one more worker
    for n in range(30):
        sample.add("scale", service.version("scale"), ["x"], [n])
    sample.write(sample.changes() or {})
    page.wait_for_selector("#keys-lead:has-text('rows that missed')")
    assert "rows that missed lately" in cards.first.inner_text()


def test_a_prediction_is_tried_and_two_rows_are_compared(
    page: Any, service: Service
) -> None:
    open_view(page, service, "try")
    page.select_option("#try-model", "cities")
    page.wait_for_selector("label:has-text('city')")
    page.check("#try-compare")
    for field, value in {"row-1-0": "atlantis", "row-2-0": "eldorado"}.items():
        page.fill(f"#{field}", value)
    page.focus("#row-2-0")
    page.keyboard.press("Enter")
    page.wait_for_selector(".verdict:has-text('share one answer')")
    first, second = page.locator("#try-result article").all()
    assert "not among the 3 values that the model knows" in first.inner_text()
    assert "the cache, L1" in second.inner_text()
    assert '"score"' in first.inner_text()
    row = {"city": "atlantis", "day": 1, "price": 0}
    path = "/v1/api/model/cities/meta/key"
    question = service.client.post(path, json=row).json()["questions"][0]
    for card in (first, second):
        assert question["key"] in card.inner_text()
    page.fill("#row-2-0", "rome")
    predict(page)
    page.wait_for_selector(".verdict:has-text('They differ in: city')")


def test_what_the_service_refuses_is_said(browser: Any, service: Service) -> None:
    page = browser.new_page()  # which writes refusals to its console
    page.set_default_timeout(MILLISECONDS)
    open_view(page, service, "try")
    page.select_option("#try-model", "cities")
    page.wait_for_selector("label:has-text('city')")
    page.fill("#row-1-1", "tomorrow")
    predict(page)
    said = page.locator("#try-result").inner_text()
    assert "No key: input 'day': expected" in said
    assert "400" in said
    page.close()


def test_markup_of_models_is_text(page: Any, service: Service) -> None:
    """An id cannot hold any; names of inputs, values and messages can."""
    open_view(page, service, "keys")
    page.select_option("#keys-model", "words")
    page.wait_for_selector("#keys-inputs h3")
    assert page.locator("#keys-inputs h3").inner_text() == MARKUP
    page.click("nav >> text=Try")
    page.select_option("#try-model", "words")
    page.wait_for_selector("#try-rows label:has-text('onerror')")
    page.fill("#row-1-0", MARKUP)
    predict(page)
    row = page.locator("#try-result tbody tr")
    assert row.locator("th").inner_text() == MARKUP
    assert row.locator("td").first.inner_text() == json.dumps(MARKUP)
    values = page.locator("datalist option")
    assert MARKUP in [one.get_attribute("value") for one in values.all()]
    assert page.locator("img").count() == 0
    assert page.evaluate("() => window.broken") is None


def test_an_id_cannot_be_markup(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"models": [{"id": MARKUP, "url": "./m"}]}))
    with pytest.raises(ConfigInvalid, match="id"):
        load_config(path)


def test_an_inline_script_does_not_run(browser: Any, service: Service) -> None:
    """If text became markup all the same, the policy would stop it."""
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    open_view(page, service, "models")
    attack = "() => { document.body.innerHTML = '<img src=x onerror=window.broken=1>' }"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate(attack)
    assert page.evaluate("() => window.broken") is None
    page.close()


def test_a_poll_moves_nothing(page: Any, service: Service) -> None:
    open_view(page, service, "models")
    before = boxes(page)
    with service.connect() as client:
        for _ in range(5):
            send_some(client, Random(4))
    for _ in range(2):
        with page.expect_response("**/v1/api/stats*"):
            pass
    page.wait_for_selector("article:has-text('flights') dd:has-text('/s')")
    assert boxes(page) == before


def boxes(page: Any) -> list[Any]:
    return [one.bounding_box() for one in page.locator("#models-list article").all()]


def test_all_is_reached_by_keyboard(page: Any, service: Service) -> None:
    open_view(page, service, "models")
    page.keyboard.press("Tab")
    assert focused(page).inner_text() == "Skip to the view"
    for name in ("Models", "Traffic", "Keys", "Try", "Tiers"):
        page.keyboard.press("Tab")
        assert focused(page).inner_text() == name
    page.keyboard.press("Enter")
    page.wait_for_selector("#view-tiers:not([hidden]) article")
    assert focused(page).get_attribute("aria-current") == "page"
    states = page.locator("#tiers-list .badge").all_inner_texts()
    assert states.count("works") == 3
    far = page.locator("#tiers-list article", has_text="answers · far").inner_text()
    assert "none.sock" in far


def focused(page: Any) -> Any:
    return page.locator("*:focus")


def test_a_service_that_does_not_answer_is_noticed(
    browser: Any, service: Service
) -> None:
    page = browser.new_page()
    page.set_default_timeout(MILLISECONDS)
    open_view(page, service, "models")
    page.route("**/v1/api/stats*", lambda route: route.abort())
    page.wait_for_selector("#trouble:has-text('The service has not answered for')")
    assert page.locator("#models-list article").count()  # what was known stays
    page.unroute("**/v1/api/stats*")
    page.wait_for_selector("#trouble", state="hidden")
    page.close()


def test_a_closed_service_is_seen_with_a_token(browser: Any, tmp_path: Path) -> None:
    saved_models.echo(tmp_path / "m", "float32", (None, 3))
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{TOKEN}\n")
    config = {
        "endpoint": {"admin": {"token_file": "tokens"}},
        "models": [{"id": "m", "url": "./m"}],
    }
    with running(tmp_path, config) as service:
        page = browser.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.goto(f"{service.url}/ui#tiers")
        page.wait_for_selector("#token:not([hidden])")
        for token in ("not-this-one-of-all", TOKEN):
            page.fill("#token-value", token)
            with page.expect_response("**/v1/api/stats*") as reply:
                page.keyboard.press("Enter")
            assert reply.value.status == (200 if token == TOKEN else 401)
            if token != TOKEN:
                page.wait_for_selector("#token-hint:has-text('not know this token')")
        page.wait_for_selector("#view-tiers:has-text('No datastores')")
        page.reload()
        page.wait_for_selector("#summary:has-text('1 model, all ready')")
        page.click("nav >> text=Try")
        try_lists(page)
        page.close()


def try_lists(page: Any) -> None:
    """Values of several elements are JSON, and begin with what has their shape."""
    page.wait_for_selector("textarea")
    assert page.input_value("#row-1-0") == "[0,0,0]"
    page.fill("#row-1-0", "[1, 2.5")
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector(".verdict.bad:has-text('x: ')")
    assert focused(page).get_attribute("aria-invalid") == "true"
    page.fill("#row-1-0", "[1, 2.5, 0.1]")
    predict(page)
    assert "[1,2.5,0.1]" in page.locator("#try-result tbody td").first.inner_text()
    assert "[1,2.5,0.10000000149011612]" in page.locator("#try-result").inner_text()
