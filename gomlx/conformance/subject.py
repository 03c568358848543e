"""The server under test: ask it, deploy to it, and see what it ran."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from gomlx.conformance.exchange import Unreachable, send
from gomlx.conformance.history import History
from gomlx.conformance.hooks import run_command
from gomlx.conformance.options import SPEAKERS, WRITERS, LoadName, RunOptions, Server
from gomlx.conformance.protocols.call import Feature, PredictCall, Unreadable
from gomlx.conformance.recipe import ModelName, NamedRow, Recipe
from gomlx.conformance.verdict import DoesNotApply, Exchange, Wrong, as_text
from gomlx.errors import GomlxError

_LOOK_SECONDS = 0.2
_WRITTEN_SECONDS = 0.2
_SURE_LOOKS = 8  # a server has several workers, which need not change at once


class NotDeployed(GomlxError):
    """A version that the server did not begin to serve in time."""


class Subject:
    """A server, what each of its models is now, and rows not requested yet."""

    def __init__(
        self, options: RunOptions, numbers: Iterator[int] | None = None
    ) -> None:
        self.options = options
        self.speaker = SPEAKERS[options.protocol]
        self.live: dict[ModelName, tuple[int, Recipe]] = {}
        self._numbers = numbers or count(int(time.time()))  # also new in a second run
        self._url = options.server.url
        models = options.server.models
        self._history = History()
        self._runs = models.with_name(f"{models.name}.runs")

    def beside(self, server: Server) -> "Subject":
        """Return a further server, without versions; rows are new to both."""
        return Subject(replace(self.options, server=server), self._numbers)

    def recipe(self, model: ModelName) -> Recipe:
        """Return what a model is now."""
        return self.live[model][1]

    def number(self) -> int:
        """Return a value of `n` that no row had."""
        return next(self._numbers)

    def row(self, a: str = "red", b: str = "green") -> NamedRow:
        """Return a row for the models of words that was not requested yet."""
        return {"a": a, "b": b, "n": self.number()}

    # --- asking ---

    def ask(self, call: PredictCall) -> Exchange:
        """Send a call. Raises Unreachable."""
        request = self.speaker.predict(call)
        before = self.rows_run(call.model)
        reply = send(self._url, request, self.options.timeout_seconds)
        ran = reply.rows_run(len(call.rows))
        after = self.rows_run(call.model)
        if before is not None and after is not None:
            ran = after - before
        return Exchange(self._url, request, reply, ran)

    def rows_run(self, model: str) -> int | None:
        """Return how many rows a model in Python has run; None for others."""
        try:
            return len((self._runs / model).read_bytes().splitlines())
        except OSError:
            return None

    def first(self, call: PredictCall) -> Exchange:
        """Ask what a check begins with, which must be answered rightly.

        Raises DoesNotApply if it is refused, Wrong.
        """
        seen = self.ask(call)
        if is_refused(seen):
            raise DoesNotApply(f"the server refuses the request: {_said(seen)}")
        self.judge(call, seen, ())
        return seen

    def then(self, call: PredictCall, *before: Exchange, after: str = "") -> Exchange:
        """Query what must be answered as if it were the first request. Raises Wrong.

        after, if given, says what happened since the last request.
        """
        return self._judged(call, self.ask(call), before, after)

    def then_or_refused(self, call: PredictCall, *before: Exchange) -> Exchange:
        """Ask what may also be refused, as not valid for the model. Raises Wrong."""
        seen = self.ask(call)
        return seen if is_refused(seen) else self._judged(call, seen, before, "")

    def _judged(
        self, call: PredictCall, seen: Exchange, before: Sequence[Exchange], after: str
    ) -> Exchange:
        try:
            if is_refused(seen):
                raise Wrong(f"an error: {_said(seen)}", (*before, seen))
            self.judge(call, seen, before)
        except Wrong as wrong:
            if not after:
                raise
            reason = f"after {after}: {wrong}"
            raise Wrong(reason, wrong.exchanges, wrong.expected) from None
        return seen

    def settle(self) -> None:
        """Wait for a cache that writes an answer after it has sent it."""
        time.sleep(_WRITTEN_SECONDS)

    def judge(
        self,
        call: PredictCall,
        seen: Exchange,
        before: Sequence[Exchange],
        recipe: Recipe | None = None,
    ) -> None:
        """Compare an answer with the recipe's, or the live one's. Raises Wrong.

        If before is empty, an earlier request with the same answer is shown.
        """
        recipe = recipe or self.recipe(ModelName(call.model))
        expected = recipe.answers(call.rows)
        if call.outputs:
            expected = [{k: one[k] for k in call.outputs} for one in expected]
        try:
            answers = self.speaker.answers(call, seen.reply)
        except Unreadable as error:
            raise Wrong(str(error), (*before, seen), expected) from None
        if answers == expected:
            self._history.add(answers, seen)
        else:
            before = before or [*self._history.source_of(answers)]
            reason = f"answered {as_text(answers)}, which is not {as_text(expected)}"
            raise Wrong(reason, (*before, seen), expected)

    def needs(self, feature: Feature) -> None:
        """Raise DoesNotApply if the protocol cannot say something."""
        if feature not in self.speaker.features:
            raise DoesNotApply(f"{self.options.protocol} cannot say {feature.value}")

    # --- deploying ---

    def write(self, model: ModelName, recipe: Recipe, number: int) -> None:
        """Write a version's files."""
        folder = self.options.server.models / model
        self._runs.mkdir(parents=True, exist_ok=True)
        runs = self._runs / model
        WRITERS[self.options.format](folder, number, recipe, runs)
        self.live[model] = (number, recipe)

    def deploy(self, model: ModelName, recipe: Recipe, number: int = 0) -> None:
        """Write a version, the next one without a number, and wait until it is served.

        Raises NotDeployed.
        """
        last, _ = self.live.get(model, (0, None))
        self.write(model, recipe, number or last + 1)
        self.load(model)
        self.wait(model)

    def load(self, model: ModelName) -> None:
        """Have the server load a model's newest files, if it loads on request."""
        request = self.speaker.load(model)
        if self.options.load == LoadName.api and request:
            reply = send(self._url, request, self.options.wait_seconds)
            if reply.status != 200:
                text = reply.body.decode(errors="replace")
                raise NotDeployed(f"{model} was not loaded: {reply.status} {text}")

    def restart(self, command: str) -> None:
        """Run a command that restarts the server; wait until each model is served.

        Raises HookFailed, NotDeployed.
        """
        run_command(command)
        self.start()

    def start(self) -> None:
        """Wait until a server that starts serves each model. Raises NotDeployed."""
        deadline = time.monotonic() + self.options.wait_seconds
        for model in self.live:
            while problem := self._problem(model):
                if time.monotonic() > deadline:
                    raise NotDeployed(problem)
                time.sleep(_LOOK_SECONDS)
        for model in self.live:
            self.wait(model)

    def _problem(self, model: ModelName) -> str:
        """Have a model loaded; return why it was not, or nothing."""
        try:
            self.load(model)
        except (NotDeployed, Unreachable) as error:
            return str(error)
        return ""

    def wait(self, model: ModelName) -> None:
        """Wait until new rows are answered by a model's newest version.

        Raises NotDeployed, Wrong.
        """
        deadline = time.monotonic() + self.options.wait_seconds
        sure = 0
        while sure < _SURE_LOOKS:
            problem = self._look(model)
            sure = 0 if problem else sure + 1
            if problem and time.monotonic() > deadline:
                number = self.live[model][0]
                raise NotDeployed(
                    f"version {number} of {model} was not served within "
                    f"{self.options.wait_seconds:g} s: {problem}"
                )
            time.sleep(_LOOK_SECONDS if problem else 0)

    def _look(self, model: ModelName) -> str:
        """Ask a new row; return what is not as it should be, or nothing.

        Raises Wrong for an answer that another row had, of whatever version.
        """
        call = PredictCall(model, (self.new_row(model),))
        try:
            seen = self.ask(call)
            if is_refused(seen):
                return _said(seen)
            self.judge(call, seen, ())
        except Unreachable as error:
            return str(error)
        except Wrong as wrong:
            if len(wrong.exchanges) > 1:
                raise
            return str(wrong)
        return ""

    def new_row(self, model: ModelName) -> NamedRow:
        """Return a row for a model that was not requested yet."""
        if model == ModelName.cube:
            return {"x": [[float(self.number() % 2**20)]]}
        if model == ModelName.fragile:
            return {"n": self.number()}
        return self.row()


def is_refused(seen: Exchange) -> bool:
    """Return whether a request got an error."""
    return seen.reply.status != 200


def _said(seen: Exchange) -> str:
    """Return a refusal's status and the beginning of its text."""
    return f"{seen.reply.status} {seen.reply.body[:300].decode(errors='replace')}"
