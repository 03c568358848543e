"""The services that people write first, measured for comparison.

    python -m loadtests.load.ordinary_service PORT R=MODEL …     FastAPI and uvicorn
    python -m loadtests.load.ordinary_service PORT R=MODEL … --redis URL
                                             the same, with answers kept in Redis
    gunicorn … "loadtests.load.ordinary_service:falcon_app('R=MODEL …')"

Written as tutorials have it: types of the body are validated, each value becomes a
tensor, the signature is called, its output is returned. A model's path is /NAME.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

Predict = Callable[[dict[str, Any]], dict[str, float]]
_PYTHON = {"string": str, "int64": int, "float32": float}


class Model:
    """A SavedModel whose inputs are scalars. types: of the inputs, by name."""

    def __init__(self, path: str) -> None:
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(path)
        self._run = self._loaded.signatures["serving_default"]
        specs = self._run.structured_input_signature[1]
        self._dtypes = {name: spec.dtype for name, spec in specs.items()}
        self.types = {name: _PYTHON[d.name] for name, d in self._dtypes.items()}

    def predict(self, row: dict[str, Any]) -> dict[str, float]:
        """Run the model for one row."""
        tensors = {
            name: self._tf.constant([[row[name]]], dtype)
            for name, dtype in self._dtypes.items()
        }
        outputs = self._run(**tensors)
        return {name: float(value.numpy()[0][0]) for name, value in outputs.items()}


def models(arguments: list[str]) -> dict[str, Model]:
    """Load models by name from arguments NAME=PATH."""
    pairs = (argument.partition("=") for argument in arguments if "=" in argument)
    return {name: Model(path) for name, _, path in pairs}


def fastapi_app(found: dict[str, Model], redis_url: str | None) -> Any:
    """Return the ASGI application. redis_url: of a cache, if there is one."""
    from fastapi import FastAPI
    from pydantic import create_model

    app = FastAPI()
    for name, model in found.items():
        fields: dict[str, Any] = {n: (type_, ...) for n, type_ in model.types.items()}
        predict = look_aside(redis_url, name, model.predict)
        app.post(f"/{name}")(_route(create_model(name, **fields), predict))
    return app


def _route(schema: Any, predict: Predict) -> Any:
    def answer(row: Any) -> dict[str, float]:
        return predict(row.model_dump())

    answer.__annotations__["row"] = schema
    return answer


def look_aside(url: str | None, name: str, predict: Predict) -> Predict:
    """Return a function that looks into Redis before it predicts, if there is one."""
    if url is None:
        return predict
    from redis import Redis

    redis = Redis.from_url(url)

    def cached(row: dict[str, Any]) -> dict[str, float]:
        key = f"{name}:{json.dumps(row, sort_keys=True)}"
        if (found := redis.get(key)) is not None:
            answer: dict[str, float] = json.loads(found)
            return answer
        computed = predict(row)
        redis.set(key, json.dumps(computed), ex=3600)
        return computed

    return cached


def falcon_app(arguments: str) -> Any:
    """Return the WSGI application for models that are given as NAME=PATH."""
    import falcon

    app = falcon.App()
    for name, model in models(arguments.split()).items():
        app.add_route(f"/{name}", _Resource(model))
    return app


class _Resource:
    def __init__(self, model: Model) -> None:
        self._model = model

    def on_post(self, req: Any, resp: Any) -> None:
        row = req.get_media()
        for name, wanted in self._model.types.items():
            row[name] = wanted(row[name])
        resp.media = self._model.predict(row)


def main() -> None:
    """Serve by uvicorn until the process is terminated."""
    import uvicorn

    redis = sys.argv[-1] if "--redis" in sys.argv else None
    app = fastapi_app(models(sys.argv[2:]), redis)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
