"""Whether rows may share a run: what was proved, what the config says, and a trial."""

import logging
from collections.abc import Callable

from gomlx.errors import StageFailed
from gomlx.models.independence.proof import Verdict
from gomlx.models.version import TOGETHER

log = logging.getLogger(__name__)


def rows_apart(
    name: str, setting: str, verdict: Verdict, agrees: Callable[[], bool]
) -> str:
    """Return why rows of different requests may not run together; "": they may.

    setting: what the config says of the model's rows. agrees: a trial, the second lock
    on what was proved: it cannot show that rows are independent, only that they are
    not. Raises StageFailed for a listwise model of which the config says nothing: its
    rows can run neither alone, which gives answers without meaning, nor with those of
    other requests.
    """
    if setting == "independent":
        log.warning("model %s joins rows because the config vouches for it", name)
        return ""
    if setting in ("alone", TOGETHER):
        return f"the config says `rows: {setting}`"
    if verdict.is_listwise:
        raise _listwise(verdict)
    if not verdict.joins:
        log.warning("model %s runs rows one at a time: %s", name, verdict.reason)
        return verdict.reason
    if agrees():
        return ""
    log.error(
        "model %s runs rows one at a time: a batch changed the answer to a row, "
        "although the graph proves that it cannot: please report this bug of gomlx",
        name,
    )
    return "a batch changed the answer to a row"


def _listwise(verdict: Verdict) -> StageFailed:
    return StageFailed(
        f"its answer to a row depends on all rows of the request: {verdict.reason}. "
        "Configure `batch: {rows: together}`, and a whole request is the question, or "
        "`batch: {rows: alone}`, if each row is a question of its own"
    )
