"""Further signatures of a model: each is a model of its own inside.

It has its own version, contract, keys and metrics. Its id is that of the model, a colon
and its name, which no configured id can be.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from gomlx.config.schema import Model

DEFAULT = "serving_default"


def expanded(models: Iterable[Model]) -> Iterator[Model]:
    """Yield each model, and after it one for each of its further signatures.

    What is said of inputs and answers is said of the model's own signature.
    """
    for model in models:
        yield model
        for name in model.signatures:
            yield replace(
                model,
                id=f"{model.id}:{name}",
                signature=name,
                signatures=(),
                example={},
                inputs=(),
                outputs=(),
                key_fields=(),
                transformer=None,
            )
