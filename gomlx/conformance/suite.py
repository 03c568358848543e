"""The questions in their order, and what each of them ended with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gomlx.conformance.checks import batches, keys, tiers, versions
from gomlx.conformance.exchange import Unreachable
from gomlx.conformance.hooks import HookFailed
from gomlx.conformance.options import RunOptions
from gomlx.conformance.recipe import ModelName, Recipe, first_words
from gomlx.conformance.subject import NotDeployed, Subject
from gomlx.conformance.verdict import CheckOutcome, CheckResult, DoesNotApply, Wrong


@dataclass(frozen=True)
class Check:
    """A question; its text is the first line of the function's docstring."""

    name: str
    run: Callable[[Subject], str]

    @property
    def question(self) -> str:
        """Return what the check asks."""
        return (self.run.__doc__ or "").partition("\n")[0].rstrip(".")


def deployed(subject: Subject) -> str:
    """The first version of each model is served, and new rows get their own answers.

    All are written before one is awaited: a server may start only when all are there.
    """
    twin = first_words(500)
    recipes = {
        ModelName.words: first_words(1),
        ModelName.twin: replace(twin, weights=twin.weights[::-1]),
        ModelName.cube: Recipe("cube"),
        ModelName.fragile: Recipe("fragile"),
    }
    for model, recipe in recipes.items():
        subject.write(model, recipe, 1)
    subject.start()
    return f"{len(recipes)} models"


CHECKS = (
    Check("deployed", deployed),
    Check("repeated", keys.repeated),
    Check("two-models", keys.two_models),
    Check("separators", keys.separators),
    Check("shapes", keys.shapes),
    Check("dtypes", keys.dtypes),
    Check("outputs", keys.outputs),
    Check("request-ids", keys.request_ids),
    Check("headers", keys.headers),
    Check("changed-row", batches.changed_row),
    Check("partial-failure", batches.partial_failure),
    Check("at-once", batches.at_once),
    Check("weights-only", versions.weights_only),
    Check("vocabulary-order", versions.vocabulary_order),
    Check("same-number", versions.same_number),
    Check("unknown-words", versions.unknown_words),
    Check("rolling", versions.rolling),
    Check("by-number", versions.by_number),
    Check("two-hosts", versions.two_hosts),
    Check("expiry", tiers.expiry),
    Check("poisoned", tiers.poisoned),
    Check("restart", tiers.restart),
)


def run(options: RunOptions, only: Sequence[str] = ()) -> Iterator[CheckOutcome]:
    """Ask each question, or some by name; yield the outcomes.

    The first always runs; if it does not end right, it is the only one.
    """
    subject = Subject(options)
    first, *others = CHECKS
    outcome = ask(first, subject)
    yield outcome
    if outcome.result is CheckResult.right:
        for check in others:
            if not only or check.name in only:
                yield ask(check, subject)


def ask(check: Check, subject: Subject) -> CheckOutcome:
    """Ask one question."""
    name = check.name
    try:
        note = check.run(subject)
    except Wrong as wrong:
        return CheckOutcome(
            name,
            check.question,
            CheckResult.wrong,
            str(wrong),
            wrong.exchanges,
            wrong.expected,
        )
    except DoesNotApply as reason:
        return CheckOutcome(name, check.question, CheckResult.skipped, str(reason))
    except (NotDeployed, HookFailed, Unreachable) as problem:
        return CheckOutcome(name, check.question, CheckResult.failed, str(problem))
    return CheckOutcome(name, check.question, CheckResult.right, note)
