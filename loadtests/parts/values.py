"""The cost of checks of a shared tier's values: python -m loadtests.parts.values

An answer of one float, of 128, and of 1,000 probabilities, most of them so small that
orjson writes them with an exponent. Prints the best of several repeats, in microseconds
a value: of its validation, and of its signature with one key.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from typing import Any

import numpy as np

from gomlx.cache.redis.signatures import Signer
from gomlx.contract.answer import AnswerFormat, SharedAnswers
from gomlx.contract.tensor import Tensor


def microseconds(run: Callable[[], object], value: bytes) -> float:
    """Return the cost of a run."""
    number = 2_000_000 // (100 + len(value))
    return min(repeat(run, number=number)) / number * 1e6


def print_costs(signer: Signer, array: Any) -> None:
    """Print the costs of one answer."""
    outputs = [Tensor("late", "float32", array.shape[1:])]
    (answer,) = AnswerFormat(outputs).encode([array])
    space = SharedAnswers("flights", "0" * 32, outputs)
    name = space.name(bytes(16))
    value = signer.signed(name, answer)
    costs = {
        "validate": microseconds(lambda: space.is_answer(answer), answer),
        "sign": microseconds(lambda: signer.signed(name, answer), answer),
        "verify": microseconds(lambda: signer.verified([name], [value]), answer),
    }
    texts = [f"{what} {cost:.1f} us" for what, cost in costs.items()]
    print(f"{len(answer):6} bytes: {', '.join(texts)}")  # noqa: T201


def main() -> None:
    """Print the costs of three answers."""
    random = np.random.default_rng(1)
    logits = np.exp(random.normal(size=(1, 1000)) * 6)
    arrays = [
        np.array([[0.4460329]]),
        random.random((1, 128)),
        logits / logits.sum(),
    ]
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.touch(0o600)
        keys.write_text(os.urandom(32).hex())
        signer = Signer(str(keys))
        for array in arrays:
            print_costs(signer, array.astype(np.float32))


if __name__ == "__main__":
    main()
