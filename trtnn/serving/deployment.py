"""``ray_deployment``: a model behind Ray Serve, which puts the rows of many clients together."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from trtnn.errors import InputError, UnsupportedError
from trtnn.serving.predictor import RayPredictor
from trtnn.serving.rows import Array, same_shapes

Row = Mapping[str, Array]
ONGOING = 256
"""How many requests a replica takes at once: Ray's own 5 would be the greatest batch."""


class Replica(RayPredictor):
    """A predictor whose rows come one by one."""

    def row(self, given: Any) -> Row:
        """Return a request's row, checked: nobody else's request fails for it."""
        if not isinstance(given, Mapping):
            raise InputError(
                f"request: expected a dict of columns, got a {type(given).__name__}", search=False
            )
        wanted = {column.name for column in self.columns.values()}
        if given.keys() != wanted:
            raise InputError(
                f"request: expected {', '.join(sorted(wanted))}, got {', '.join(map(str, given))}",
                search=False,
            )
        return {name: column.row(given[column.name]) for name, column in self.columns.items()}

    def answers(self, rows: Sequence[Row]) -> list[Any]:
        """Return the outputs of each row, or what it raises; rows of one shape run together."""
        found: list[Any] = [None] * len(rows)
        for group in same_shapes(rows):
            try:
                for index, answer in zip(group, self._together(rows, group), strict=True):
                    found[index] = answer
            except Exception as error:
                for index in group:
                    found[index] = error if len(group) == 1 else self.answers([rows[index]])[0]
        return found

    def _together(self, rows: Sequence[Row], group: Sequence[int]) -> list[dict[str, Array]]:
        arrays = {name: numpy.stack([rows[i][name] for i in group]) for name in self.columns}
        found = self.run(arrays)
        return [{name: x[place] for name, x in found.items()} for place in range(len(group))]


def ray_deployment() -> Any:
    """Return a deployment of Ray Serve, to be bound to what ``RayPredictor`` takes.

    A request is one row, without the Dim of rows: a dict of NumPy arrays by column, from a
    handle; or over HTTP a JSON object of nested lists. Rows that wait together, up to the Dim's
    greatest size, run as one batch: those of one shape. The answer is a dict of the outputs, of
    nested lists over HTTP. A row that is not what was declared fails alone (status 400).

    With ``pip install "trtnn[ray]"``, a replica for each of two GPUs::

        from ray import serve
        from trtnn.serving import ray_deployment

        where = dict(num_replicas=2, ray_actor_options={"num_gpus": 1})
        handle = serve.run(ray_deployment().options(**where).bind(make))
        handle.remote({"x": row}).result()["output"]

    Raises:
        UnsupportedError: Ray Serve is not installed.
    """
    try:
        serve: Any = importlib.import_module("ray.serve")
        requests: Any = importlib.import_module("starlette.requests")
        responses: Any = importlib.import_module("starlette.responses")
    except ImportError as error:
        raise UnsupportedError(
            f"ray_deployment: Ray Serve is not installed: {error}",
            hint='pip install "trtnn[ray]"',
        ) from error

    class Deployment(Replica):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            collected: Any = self.collected
            collected.set_max_batch_size(self.batch.max)

        @serve.batch(batch_wait_timeout_s=0.01)  # type: ignore[untyped-decorator]
        async def collected(self, rows: list[Row]) -> list[Any]:
            return await asyncio.to_thread(self.answers, rows)

        async def __call__(self, request: Any) -> Any:  # type: ignore[override]
            if not isinstance(request, requests.Request):
                return await self.answer(request)
            try:
                found = await self.answer(await request.json())
            except (InputError, ValueError) as error:  # no JSON is a ValueError
                return responses.JSONResponse({"error": str(error)}, status_code=400)
            return {name: x.tolist() for name, x in found.items()}

        async def answer(self, given: Any) -> dict[str, Array]:
            found = await self.collected(self.row(given))
            if isinstance(found, Exception):
                raise found
            answer: dict[str, Array] = found
            return answer

    return serve.deployment(max_ongoing_requests=ONGOING)(Deployment)
