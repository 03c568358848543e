"""New versions of a model: no answer of one is given for another."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from gomlx.conformance.exchange import Unreachable
from gomlx.conformance.protocols.call import Feature, PredictCall
from gomlx.conformance.recipe import VOCABULARY, ModelName, Recipe
from gomlx.conformance.subject import Subject, is_refused
from gomlx.conformance.verdict import DoesNotApply, Exchange, Wrong

_WORDS = ModelName.words
_NEW_WORD = "amber"


def next_mark(recipe: Recipe) -> Recipe:
    """Return a recipe that differs in its stamps alone."""
    return replace(recipe, mark=recipe.mark + 1)


def retrained(recipe: Recipe) -> Recipe:
    """Return a recipe with other weights."""
    weights = tuple(weight + 1.0 for weight in recipe.weights)
    return replace(next_mark(recipe), weights=weights)


def reordered(recipe: Recipe) -> Recipe:
    """Return a recipe with the same words in another order."""
    return replace(next_mark(recipe), vocabulary=recipe.vocabulary[::-1])


def _changed(subject: Subject, change: Callable[[Recipe], Recipe], number: int) -> str:
    """Ask one row and one batch before and after a change; number 0: the next one."""
    row = subject.row()
    calls = [
        PredictCall(_WORDS, (row,)),
        PredictCall(_WORDS, (subject.row(), {**row, "b": "blue"})),
    ]
    before = [subject.first(call) for call in calls]
    # Once more, so that the answers are surely in the cache.
    for call, first in zip(calls, before, strict=True):
        subject.then(call, first)
    subject.deploy(_WORDS, change(subject.recipe(_WORDS)), number)
    deployed = f"version {subject.live[_WORDS][0]} was deployed"
    for call, first in zip(calls, before, strict=True):
        subject.then(call, first, after=deployed)
    return f"{deployed}, and answered"


def weights_only(subject: Subject) -> str:
    """The next version differs in its weights alone."""
    return _changed(subject, retrained, 0)


def vocabulary_order(subject: Subject) -> str:
    """The next version has the same words in another order."""
    return _changed(subject, reordered, 0)


def same_number(subject: Subject) -> str:
    """The version is exported again, under the same number."""
    return _changed(subject, retrained, subject.live[_WORDS][0])


def unknown_words(subject: Subject) -> str:
    """Words that the model does not know, one of which the next version knows."""
    number = subject.number()
    calls = [
        PredictCall(_WORDS, ({"a": word, "b": "red", "n": number},))
        for word in (_NEW_WORD, "umber", "red")
    ]
    first = subject.first(calls[0])
    for call in calls[1:]:
        subject.then(call, first)
    recipe = next_mark(subject.recipe(_WORDS))
    vocabulary = (*recipe.vocabulary, _NEW_WORD)
    weights = (*recipe.weights, 99.0)
    subject.deploy(_WORDS, replace(recipe, vocabulary=vocabulary, weights=weights))
    for call in calls:
        subject.then(call, first, after=f"a version that knows {_NEW_WORD!r}")
    return "they had the unknown word's weight until a version knew one"


def rolling(subject: Subject) -> str:
    """Requests go on while a version is replaced: each answer is of one version."""
    old = subject.recipe(_WORDS)
    known = subject.row()
    first = subject.first(PredictCall(_WORDS, (known,)))
    new = retrained(old)
    refused = 0
    batches = 0
    with ThreadPoolExecutor(1) as pool:
        deploying = pool.submit(subject.deploy, _WORDS, new)
        while not deploying.done():
            call = PredictCall(_WORDS, (known, subject.row("blue"), known))
            refused += not _is_of_one(subject, call, first, (old, new))
            batches += 1
        deploying.result()
    subject.then(PredictCall(_WORDS, (known,)), first, after="the change")
    failed = f", {refused} of them failed" if refused else ""
    return f"{batches} batches during the change{failed}"


def _is_of_one(
    subject: Subject, call: PredictCall, first: Exchange, recipes: tuple[Recipe, Recipe]
) -> bool:
    """Ask; return whether there was an answer. Raises Wrong if it is of no recipe."""
    try:
        seen = subject.ask(call)
    except Unreachable:
        return False
    if is_refused(seen):
        return False
    try:
        subject.judge(call, seen, (first,), recipes[0])
    except Wrong:
        subject.judge(call, seen, (first,), recipes[1])
    return True


def by_number(subject: Subject) -> str:
    """Two versions are queried by their numbers, in turn, with one body."""
    subject.needs(Feature.versions)
    number, old = subject.live[_WORDS]
    call = PredictCall(_WORDS, (subject.row(),), version=number)
    first = subject.first(call)
    subject.deploy(_WORDS, retrained(old))
    if is_refused(subject.ask(call)):
        raise DoesNotApply("the server keeps one version at a time")
    second = subject.then(replace(call, version=number + 1), first)
    seen = subject.ask(call)
    if not is_refused(seen):
        subject.judge(call, seen, (first, second), old)
    return f"versions {number} and {number + 1} gave their own answers"


def two_hosts(subject: Subject) -> str:
    """Two hosts, which share a tier, have two versions of a model."""
    other = subject.options.other
    if other is None:
        raise DoesNotApply("needs --other-url and --other-model-dir")
    beside = subject.beside(other)
    recipe = subject.recipe(_WORDS)
    number = subject.live[_WORDS][0]
    weights = (7.0,) * (len(VOCABULARY) + 2)
    beside.deploy(_WORDS, replace(retrained(recipe), weights=weights), number)
    for _ in range(3):
        call = PredictCall(_WORDS, (subject.row(), subject.row("blue")))
        first = subject.first(call)
        second = beside.then(call, first)
        subject.then(call, first, second)
    return "each host gave the answers of its own version, under one number"
