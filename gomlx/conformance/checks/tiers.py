"""What a cache keeps outside of a process, and for how long. Hooks are needed."""

import time

from gomlx.conformance.checks.seen import hits
from gomlx.conformance.checks.versions import retrained
from gomlx.conformance.hooks import RedisContents
from gomlx.conformance.protocols.call import PredictCall
from gomlx.conformance.recipe import ModelName
from gomlx.conformance.subject import Subject
from gomlx.conformance.verdict import DoesNotApply, Wrong

_WORDS = ModelName.words
_LATE_SECONDS = 1.0
_POISONED = 6


def expiry(subject: Subject) -> str:
    """An answer is older than its time to live."""
    ttl = subject.options.ttl_seconds
    if ttl is None:
        raise DoesNotApply("needs --ttl-seconds, the server's time to live")
    call = PredictCall(_WORDS, (subject.row(),))
    first = subject.first(call)
    subject.settle()
    again = subject.then(call, first)
    if again.ran is None:
        raise DoesNotApply("whether an answer is a hit does not show")
    if again.ran:
        raise DoesNotApply("a repeated request is no hit")
    time.sleep(ttl + _LATE_SECONDS)
    late = subject.then(call, first)
    if late.ran == 0:
        raise Wrong(
            f"still a hit {ttl + _LATE_SECONDS:g} s after the first answer",
            (first, late),
        )
    return f"a hit at once, and none after {ttl + _LATE_SECONDS:g} s"


def restart(subject: Subject) -> str:
    """A restart; meanwhile one of two models is exported again, under its number."""
    command = subject.options.restart_command
    if command is None:
        raise DoesNotApply("needs --restart-command")
    call = PredictCall(_WORDS, (subject.row(),))
    kept = PredictCall(ModelName.twin, (subject.row(),))
    first = subject.first(call)
    same = subject.first(kept)
    subject.then(call, first)
    subject.then(kept, same)
    number, recipe = subject.live[_WORDS]
    subject.write(_WORDS, retrained(recipe), number)
    subject.restart(command)
    subject.then(call, first, after="a restart with another export of its version")
    return hits("the unchanged model's answer afterwards", [subject.then(kept, same)])


def poisoned(subject: Subject) -> str:
    """The values of a shared tier are swapped, and then damaged."""
    url = subject.options.redis_url
    if url is None:
        raise DoesNotApply("needs --redis-url")
    tier = RedisContents(url)
    calls = [PredictCall(_WORDS, (subject.row(),)) for _ in range(_POISONED)]
    before = set(tier.keys())
    first = [subject.first(call) for call in calls]
    names = tier.new_keys(before, _POISONED)
    if len(names) < 2:
        raise DoesNotApply("no answers were written to this Redis")
    for harm, word in ((tier.swap, "swapped"), (tier.damage, "damaged")):
        harm(names)
        if subject.options.restart_command:
            subject.restart(subject.options.restart_command)
        for call, seen in zip(calls, first, strict=True):
            subject.then(call, seen, after=f"the values in Redis were {word}")
    where = "" if subject.options.restart_command else "; without a restart between"
    return f"{len(names)} values, each swapped and damaged{where}"
