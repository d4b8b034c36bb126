"""The model of a repository that Triton's Python backend runs: texts in, answers out.

A text that cannot be answered fails its own request and no other of the batch.
"""

from __future__ import annotations

import importlib
import itertools
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.tensorrt.feeds import input_names, tensorrt_arrays
from xopt.engines.tensorrt.profiles import LengthProfile, split_batch
from xopt.errors import BuildError, InputError, XoptError
from xopt.model.asking import read_rows
from xopt.model.core import Model
from xopt.model.remote import check_sizes, for_clients
from xopt.model.session import BATCH_TOKENS, Session
from xopt.model.stream import check_numbers
from xopt.model.texts import Row
from xopt.packing import Encoding, PackedBatch, plan_batches

__all__ = ["BackendEngine", "TritonPythonModel"]

Rows = list[NDArray[np.float32]]


class BackendEngine(Engine):
    """The engine of a model of Triton's TensorRT backend, which is asked for each batch.

    Args:
        bundle: what the repository kept of it.
        triton: the module ``triton_python_backend_utils``.
        model: the name of the model that has the engine.
        version: of that model, which is the front's own.
    """

    name = "triton"

    def __init__(self, bundle: Bundle, triton: Any, model: str, version: int) -> None:
        super().__init__(bundle)
        facts = bundle.manifest["engine"]
        self.triton = triton
        self.model = model
        self.version = version
        self.profiles = [LengthProfile(**profile) for profile in facts["profiles"]]
        self.inputs = input_names(bundle)

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """Sentences that one of the engine's profiles takes together."""
        return split_batch(self.profiles, batch)

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        arrays = tensorrt_arrays(part, self.signature.window)
        on_cpu = self.triton.PreferredMemory(self.triton.TRITONSERVER_MEMORY_CPU, 0)
        request = self.triton.InferenceRequest(
            preferred_memory=on_cpu,
            model_name=self.model,
            model_version=self.version,
            requested_output_names=[self.signature.output],
            inputs=[self.triton.Tensor(name, arrays[name]) for name in self.inputs],
        )
        response = request.exec()
        if response.has_error():
            raise BuildError(f"{self.model} failed: {response.error().message()}")
        tensor = self.triton.get_output_tensor_by_name(response, self.signature.output)
        answer: NDArray[np.float32] = tensor.as_numpy()
        return answer


class TritonPythonModel:
    """What Triton calls; see its Python backend's documentation for the three methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle, or find the model that has its engine."""
        self.triton = importlib.import_module("triton_python_backend_utils")
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"])["parameters"]
        engine_model = parameters["engine"]["string_value"]
        if engine_model:
            facts = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
            bundle = Bundle(folder, {"target": "tensorrt", **facts})
            number = int(args["model_version"])
            engine = BackendEngine(bundle, self.triton, engine_model, number)
            self.model = Model(Session.of(engine, lengths=False))
        else:
            bundle = Bundle.open(folder / "bundle")
            self.model = Model.open(bundle, device=_device(bundle.target, args))
            # Not where the engine is another model: Triton answers no model while it starts.
            self.model.warm_up()
        self.signature = self.model.session.engine.signature
        self.max_text_kib = int(parameters["max_text_kib"]["string_value"])
        truncate = parameters["truncate"]["string_value"].lower() == "true"
        # A context is not read in windows: there is one answer of the engine for each text.
        self.asking = replace(self.model.asking(truncate=truncate), windows=False)
        self.refused = self._counter(args["model_name"], args["model_version"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request."""
        read = [_attempt(partial(self._read, request)) for request in requests]
        good = [found for found in read if isinstance(found, list)]
        answers = iter(self._answers(good))
        responses = []
        for found in read:
            rows = next(answers) if isinstance(found, list) else found
            response = rows
            if isinstance(rows, list):
                response = _attempt(partial(self._respond, found, rows))
            if isinstance(response, Exception):
                response = self.triton.InferenceResponse(error=self._failure(response))
            responses.append(response)
        return responses

    def _counter(self, name: str, version: str) -> Any:
        """Requests that were refused, for Triton's metrics; None where it has no metrics."""
        try:
            family = self.triton.MetricFamily(
                name="xopt_refused_requests",
                description="Requests that cannot be answered as they are.",
                kind=self.triton.MetricFamily.COUNTER,
            )
            self.family = family
            return family.Metric(labels={"model": name, "version": version})
        except Exception:
            return None

    def _failure(self, error: Exception) -> Any:
        """The error as Triton tells it: INVALID_ARG where the client has to change its request."""
        if isinstance(error, InputError):
            if self.refused is not None:
                self.refused.increment(1)
            said = str(for_clients(error)).replace("\n", " ")
            return self.triton.TritonError(said, self.triton.TritonError.INVALID_ARG)
        return self.triton.TritonError(_said(error))

    def _answers(self, requests: list[list[Encoding]]) -> list[Rows | Exception]:
        """Each request's rows, from one batch; each by itself where the batch fails."""
        whole = [encoding for encodings in requests for encoding in encodings]
        rows = _attempt(partial(self._answer, whole)) if whole else []
        if isinstance(rows, Exception):
            if len(requests) == 1:
                return [rows]
            return [_attempt(partial(self._answer, encodings)) for encodings in requests]
        ends = list(itertools.accumulate(map(len, requests), initial=0))
        return [rows[a:b] for a, b in itertools.pairwise(ends)]

    def finalize(self) -> None:
        """Close the engine."""
        self.model.close()

    def _read(self, request: Any) -> list[Encoding]:
        """Encode a request's texts or pairs.

        Raises:
            InputError: a text is missing, empty, not UTF-8, or too long.
        """
        texts = self._strings(request, "TEXT")
        pairs = self._strings(request, "PAIR")
        if not texts:
            raise InputError("The input TEXT is missing.", hint="Send at least one text.")
        if pairs and len(pairs) != len(texts):
            raise InputError(
                f"There are {len(texts)} TEXT and {len(pairs)} PAIR.",
                hint="Send as many of each, or no second texts.",
            )
        rows = [
            Row(text, pair, f"TEXT[{number}]", number + 1)
            for number, (text, pair) in enumerate(zip_longest(texts, pairs))
        ]
        check_sizes(rows, self.max_text_kib)
        asking = replace(self.asking, truncate=self._truncate(request))
        kind = self.model.head.kind
        read = self.model.session.encode(lambda t: read_rows(t, rows, kind, asking))
        return [encoding for encodings in read for encoding in encodings]

    def _truncate(self, request: Any) -> bool:
        """Whether what is too long is cut: as the request's parameter says, else the server's."""
        given = json.loads(request.parameters() or "{}").get("truncate")
        if given is None:
            return self.asking.truncate
        if not isinstance(given, bool):
            raise InputError(f"truncate is {json.dumps(given):.40}; possible: true, false.")
        return given

    def _strings(self, request: Any, name: str) -> list[str]:
        tensor = self.triton.get_input_tensor_by_name(request, name)
        found: list[str] = []
        for value in () if tensor is None else tensor.as_numpy().reshape(-1):
            try:
                found.append(value.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{name}[{len(found)}] is not valid UTF-8.", hint="Convert it to UTF-8 first."
                ) from error
        return found

    def _answer(self, encodings: list[Encoding]) -> Rows:
        """``[width]`` or ``[tokens, width]`` of each text."""
        rows: Rows = [np.empty(0, np.float32)] * len(encodings)
        for indices in plan_batches([len(e) for e in encodings], BATCH_TOKENS):
            answers = self.model.session.start([encodings[i] for i in indices])()
            for index, row in zip(indices, answers, strict=True):
                rows[index] = row
        if self.model.head.kind == "embed":
            rows = [self.model.head.finish_embeddings(row) for row in rows]
        return rows

    def _respond(self, encodings: list[Encoding], rows: Rows) -> Any:
        lengths = np.array([[len(encoding)] for encoding in encodings], np.int32)
        shape = (int(lengths.max()),) if self.signature.per_token else ()
        values = np.zeros((len(rows), *shape, self.signature.width), np.float32)
        for number, row in enumerate(rows):
            check_numbers(f"TEXT[{number}]", [row])
            if self.signature.per_token:
                values[number, : len(row)] = row
            else:
                values[number] = row
        tensors = [
            self.triton.Tensor(self.signature.output, values),
            self.triton.Tensor("TOKENS", lengths),
        ]
        return self.triton.InferenceResponse(output_tensors=tensors)


def _attempt(work: Callable[[], Any]) -> Any:
    """What ``work`` gives, or its error; one that nobody foresaw is also told to Triton's log."""
    try:
        return work()
    except XoptError as error:
        return error
    except Exception as error:
        traceback.print_exc()
        return error


def _said(error: Exception) -> str:
    """What a client is told of an error that is none of its own; the log has the rest."""
    if isinstance(error, XoptError):
        return error.message
    return "The model failed at this request; the server's log says why."


def _device(target: str, args: dict[str, str]) -> int | None:
    """The GPU that Triton gives this instance."""
    if args.get("model_instance_kind") != "GPU" or target == "openvino":
        return None
    return int(args["model_instance_device_id"])
