"""Batches: rows that were requested before among others; failures; requests at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

from gomlx.conformance.checks.seen import hits
from gomlx.conformance.protocols.call import PredictCall
from gomlx.conformance.recipe import ModelName
from gomlx.conformance.subject import Subject, is_refused
from gomlx.conformance.verdict import Wrong

_AT_ONCE = 12
_FAILS = {"n": 13}


def changed_row(subject: Subject) -> str:
    """A batch again: a row changed, in another order, with a row more; a row alone."""
    one, two, three, new, last = (subject.row(b="blue") for _ in range(5))
    call = PredictCall(ModelName.words, (one, two, three))
    first = subject.first(call)
    subject.settle()
    subject.then(replace(call, rows=(one, new, three)), first)
    subject.then(replace(call, rows=(three, two, one)), first)
    subject.then(replace(call, rows=(one, two, three, last)), first)
    return hits("a row of it alone", [subject.then(replace(call, rows=(two,)), first)])


def partial_failure(subject: Subject) -> str:
    """A batch of known rows, one that fails, and a new one."""
    known, other, new, late = ({"n": subject.number()} for _ in range(4))
    model = ModelName.fragile
    first = subject.first(PredictCall(model, (known, other)))
    batch = PredictCall(model, (known, _FAILS, new))
    failed = subject.ask(batch)
    if not is_refused(failed):
        raise Wrong("a batch with a row that fails was answered", (first, failed))
    alone = subject.ask(PredictCall(model, (_FAILS,)))
    if not is_refused(alone):
        raise Wrong("a row that fails was answered", (failed, alone))
    for rows in ((known,), (new,), (other, late)):
        subject.then(PredictCall(model, rows), failed)
    again = subject.ask(batch)
    if not is_refused(again):
        raise Wrong("the batch was answered the second time", (failed, again))
    return f"refused as a whole ({failed.reply.status}), and nothing of it was kept"


def at_once(subject: Subject) -> str:
    """One new row from many connections at the same moment."""
    call = PredictCall(ModelName.words, (subject.row(),))
    before = subject.rows_run(call.model)
    gate = Barrier(_AT_ONCE)

    def ask(_: int) -> int | None:
        gate.wait()
        return subject.then(call).ran

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ran = [*pool.map(ask, range(_AT_ONCE))]
    after = subject.rows_run(call.model)
    if before is not None and after is not None:
        return f"{_AT_ONCE} requests, runs of the row: {after - before}"
    known = [rows for rows in ran if rows is not None]
    if len(known) < len(ran):
        return f"{_AT_ONCE} requests; how many runs does not show"
    return f"{_AT_ONCE} requests, runs of the row: {sum(known)}"
