"""What is part of a key: everything that an answer depends on, and nothing else."""

from dataclasses import replace

from gomlx.conformance.checks.seen import hits
from gomlx.conformance.protocols.call import Feature, PredictCall
from gomlx.conformance.recipe import SEPARATORS, ModelName
from gomlx.conformance.subject import Subject, is_refused
from gomlx.conformance.verdict import DoesNotApply, Exchange, Wrong

_WORDS = ModelName.words
# A float32 of 1.0 and this int32 have the same bytes.
_ONE_AS_INTEGER = 1_065_353_216


def repeated(subject: Subject) -> str:
    """The same request twice."""
    call = PredictCall(_WORDS, (subject.row(),))
    first = subject.first(call)
    subject.settle()
    return hits("the second", [subject.then(call, first)])


def two_models(subject: Subject) -> str:
    """Two models get one body."""
    call = PredictCall(_WORDS, (subject.row(),))
    first = subject.first(call)
    again = subject.then(replace(call, model=ModelName.twin), first)
    subject.then(call, first, again)
    return "each model gave its own answer"


def separators(subject: Subject) -> str:
    """Values that are one text when they are joined: `x/y`, `z` and `x`, `y/z`."""
    number = subject.number()
    pairs = [("", "xz"), ("xz", ""), ("x", "z")]
    for mark in SEPARATORS:
        pairs += [(f"x{mark}y", "z"), ("x", f"y{mark}z")]
    before: Exchange | None = None
    for a, b in pairs:
        call = PredictCall(_WORDS, ({"a": a, "b": b, "n": number},))
        before = subject.then(call, before) if before else subject.first(call)
    return f"{len(pairs)} pairs of values"


def shapes(subject: Subject) -> str:
    """The same numbers in other shapes: [[1,2],[3,4]], [[1,2,3,4]], two rows."""
    base = float(subject.number() % 2**16)
    one, two, three, four = (base + place for place in range(4))
    square = PredictCall(ModelName.cube, ({"x": [[one, two], [three, four]]},))
    others = (
        ({"x": [[one, two, three, four]]},),
        ({"x": [[one], [two], [three], [four]]},),
        ({"x": [[one, two]]}, {"x": [[three, four]]}),
        ({"x": [[one], [two]]}, {"x": [[three], [four]]}),
    )
    first = subject.first(square)
    refused = 0
    for rows in others:
        seen = subject.then_or_refused(replace(square, rows=rows), first)
        refused += is_refused(seen)
    return f"{len(others)} other shapes" + (f", {refused} refused" if refused else "")


def dtypes(subject: Subject) -> str:
    """Values that are one in another type: 2^53 and 2^53 + 1; 1.0 and its bits."""
    near = [{"a": "red", "b": "red", "n": 2**53 + step} for step in (0, 1)]
    first = subject.first(PredictCall(_WORDS, (near[0],)))
    subject.then_or_refused(PredictCall(_WORDS, (near[1],)), first)
    if Feature.dtypes not in subject.speaker.features:
        return "integers above 2^53; the protocol does not name dtypes"
    call = PredictCall(ModelName.cube, ({"x": [[1.0]]},))
    first = subject.first(call)
    bits = PredictCall(
        ModelName.cube, ({"x": [[_ONE_AS_INTEGER]]},), dtypes={"x": "INT32"}
    )
    seen = subject.then_or_refused(bits, first)
    other = "refused" if is_refused(seen) else "answered by its own value"
    return f"integers above 2^53; INT32 for FP32 was {other}"


def outputs(subject: Subject) -> str:
    """One row, with other outputs requested."""
    subject.needs(Feature.outputs)
    both = PredictCall(_WORDS, (subject.row(),))
    only = [replace(both, outputs=(name,)) for name in ("score", "stamp")]
    try:
        first = subject.first(only[0])
    except Wrong:
        raise DoesNotApply("the server sends outputs that were not requested") from None
    second = subject.then(only[1], first)
    subject.then(both, first, second)
    return "each answer had the outputs that were requested"


def request_ids(subject: Subject) -> str:
    """One row under three ids: each reply carries its own."""
    subject.needs(Feature.request_id)
    call = PredictCall(_WORDS, (subject.row(),), request_id="first")
    first = subject.first(call)
    subject.settle()
    later = [subject.then(replace(call, request_id=""), first)]
    for name in ("second", "third"):
        seen = subject.then(replace(call, request_id=name), first)
        if (got := subject.speaker.request_id(seen.reply)) != name:
            raise Wrong(f"the reply has the id {got!r}", (first, seen), {"id": name})
        later.append(seen)
    return hits("under another id, or none", later)


def headers(subject: Subject) -> str:
    """One row with other headers; a packed answer only for who accepts one."""
    call = PredictCall(_WORDS, (subject.row(),), headers={"Accept-Encoding": "gzip"})
    packed = subject.ask(call)
    subject.settle()
    later = []
    for name, value in (
        ("X-Request-Id", "7"),
        ("Authorization", "Bearer conformance"),
        ("Cookie", "a=b"),
    ):
        seen = subject.then(replace(call, headers={name: value}), packed)
        if coding := seen.reply.headers.get("content-encoding"):
            raise Wrong(f"packed by {coding}, which was not accepted", (packed, seen))
        later.append(seen)
    return hits("with other headers", later)
