"""A bundle as an application of Ray Serve: replicas of one `Model` on any machines of a cluster.

`xopt deploy ray-serve` writes the file that names it. Every machine needs this xopt, and sees the
bundle under the path that the file says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.errors import InputError, XoptError, require
from xopt.model.core import Model
from xopt.model.remote import for_clients
from xopt.model.results import Answer, Prediction, Result, Tags
from xopt.model.texts import numbered

__all__ = ["Replica", "application"]

# Requests that one replica holds; the others wait at Ray's proxy, and then get 503.
HELD, WAITING = 16, 512
# Texts of one request.
MOST_TEXTS = 2048


class Replica:
    """One open model; it answers in a thread, so that its health is asked beside its work.

    Args:
        folder: of the bundle.
        fingerprint: the bundle's, so that no replica answers from another one.
        threads: cores of the engine.
    """

    def __init__(self, folder: str, fingerprint: str, threads: int) -> None:
        bundle = Bundle.open(Path(folder))
        if bundle.fingerprint != fingerprint:
            raise InputError(
                f"{folder} holds another bundle here than where the application was written.",
                hint="Copy the bundle to every machine, or write the application again.",
            )
        cores = threads if bundle.target == "openvino" else None
        self.model = Model.open(bundle, threads=cores)
        self.model.warm_up()

    async def check_health(self) -> None:
        """Ray asks this; a replica that cannot answer a text is replaced.

        Raises:
            XoptError: it did not answer.
        """
        pairs = ["a b c"] if self.model.head.kind == "span" else None
        await asyncio.to_thread(self.answer, ["Habari za asubuhi"], pairs)

    def answer(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, truncate: bool = False
    ) -> list[dict[str, Any]]:
        """What the model says of each text, as JSON objects.

        Raises:
            InputError: a text that cannot be answered, by its number.
        """
        if not 1 <= len(texts) <= MOST_TEXTS:
            raise InputError(f"A request has 1 to {MOST_TEXTS} texts; there are {len(texts)}.")
        rows = numbered(texts, pairs)
        asking = self.model.asking(truncate=truncate)
        return [_shown(result) for _, result in self.model.stream(rows, asking)]

    async def __call__(self, request: Any) -> Any:
        """``{"texts": […], "pairs": […], "truncate": false}`` → ``{"answers": […]}``."""
        responses = require("starlette.responses", extra="ray-serve", why="Ray Serve")
        try:
            body = await request.json()
            texts, pairs = body["texts"], body.get("pairs")
            for name, value in (("texts", texts), ("pairs", pairs)):
                if value is not None and not _are_texts(value):
                    raise InputError(f"{name} is no list of texts.")
            cut = body.get("truncate") is True
            found = await asyncio.to_thread(self.answer, texts, pairs, cut)
        except XoptError as error:
            status = 400 if isinstance(error, InputError) else 500
            said = str(for_clients(error) if isinstance(error, InputError) else error)
            return responses.JSONResponse({"error": said}, status_code=status)
        except (ValueError, KeyError, TypeError, AttributeError):
            said = 'The body is no JSON object with "texts".'
            return responses.JSONResponse({"error": said}, status_code=400)
        return responses.JSONResponse({"answers": found})


def application(
    folder: str | Path, *, fingerprint: str, replicas: int = 2, cpus: int = 4, gpus: float = 0
) -> Any:
    """What ``serve run`` starts.

    Args:
        folder: of the bundle, on every machine.
        fingerprint: of the bundle.
        replicas: least number of them; Ray starts up to four times as many by what waits.
        cpus: cores of each.
        gpus: of each.
    """
    serve = require("ray.serve", extra="ray-serve", why="Ray Serve")
    deployed = serve.deployment(
        Replica,
        name="xopt",
        max_ongoing_requests=HELD,
        max_queued_requests=WAITING,
        autoscaling_config={
            "min_replicas": replicas,
            "max_replicas": 4 * replicas,
            "target_ongoing_requests": HELD // 2,
        },
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        health_check_period_s=10,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=40,
    )
    return deployed.bind(str(folder), fingerprint, cpus)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _shown(result: Result) -> dict[str, Any]:
    match result:
        case Prediction():
            return {"label": result.label, result.says: result.named()}
        case Tags():
            return {"tags": [[word, label] for word, label in result]}
        case Answer():
            place = {"start": result.start, "stop": result.stop}
            return {"answer": result.text, **place, "probability": result.probability}
    return {"embedding": result.values.tolist()}
