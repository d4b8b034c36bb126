"""Every interface gives what the model gives; asked by the clients that people have."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import openai
import pytest

import xopt.model.core
from xopt.errors import InputError
from xopt.serve.openapi import PATHS
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service

TEXTS = ["Habari za asubuhi", "Guten Morgen, wie geht es Ihnen heute?", "おはよう", "شكرا"]
PAIRS = [("Where is it?", "Beside the river."), ("Wo?", "Am Fluss, neben der alten Mühle.")]


@pytest.fixture(scope="module")
def models(bundles: dict[str, Path]) -> Any:
    opened = {name: xopt.model.core.load(folder) for name, folder in bundles.items()}
    yield opened
    for model in opened.values():
        model.close()


def test_openai_client_gets_the_embeddings(server: Any, models: Any) -> None:
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none")
    right = models["embed"].encode(TEXTS)
    for form in ("float", "base64"):
        found = client.embeddings.create(model="embed", input=TEXTS, encoding_format=form)
        values = [
            np.frombuffer(base64.b64decode(d.embedding), "<f4")
            if isinstance(d.embedding, str)
            else np.array(d.embedding, np.float32)
            for d in found.data
        ]
        np.testing.assert_allclose(np.stack(values), right, atol=1e-5)
        assert [d.index for d in found.data] == list(range(len(TEXTS)))
    tokens = [e.tokens for _, e in models["embed"].stream(_rows(TEXTS))]
    assert found.usage.prompt_tokens == sum(tokens)
    assert [m.id for m in client.models.list()] == ["embed", "rerank", "nli", "tag", "span"]
    assert client.models.retrieve("nli").id == "nli"
    with pytest.raises(openai.NotFoundError, match="No model 'nil'") as caught:
        client.models.retrieve("nil")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="token ids"):
        client.embeddings.create(model="embed", input=[[1, 2, 3]])
    with pytest.raises(openai.NotFoundError, match="No model 'embde'") as caught:
        client.embeddings.create(model="embde", input="x")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="There is no /v1/responses") as caught:
        client.post("/responses", cast_to=object)
    assert caught.value.code is None
    with pytest.raises(openai.BadRequestError, match="gives 64"):
        client.embeddings.create(model="embed", input="x", dimensions=32)
    with pytest.raises(openai.NotFoundError, match=r"\(base_url\) ends in /v1"):
        client.with_options(base_url=server.url).embeddings.create(model="embed", input="x")
    client.close()


def _rows(texts: list[str]) -> Any:
    from xopt.model.texts import numbered

    return numbered(texts)


def test_huggingface_client_gets_embeddings_and_labels(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    models: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The tests forbid it the hub; this server is no hub.
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    with start({"embed": bundles["embed"]}) as running:
        client = huggingface_hub.InferenceClient(running.url)
        found = client.feature_extraction(TEXTS[1])
        np.testing.assert_allclose(found[0], models["embed"].encode([TEXTS[1]])[0], atol=1e-5)
    with start({"nli": bundles["nli"]}) as running:
        client = huggingface_hub.InferenceClient(running.url)
        [right] = models["nli"].predict([TEXTS[0]])
        labels = client.text_classification(TEXTS[0])
        assert labels[0].label == right.label
        assert labels[0].score == pytest.approx(right.value, abs=1e-5)


def test_tei_embed_normalizes_when_asked(server: Any, models: Any) -> None:
    status, found, _ = server.ask("/embed", {"inputs": TEXTS, "normalize": True})
    assert status == 200
    np.testing.assert_allclose(found, models["embed"].encode(TEXTS, normalize=True), atol=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_tei_predict_reads_texts_pairs_and_lists(server: Any, models: Any) -> None:
    def right(item: Any) -> dict[str, float]:
        return dict(models["nli"].predict([item])[0].named())

    for inputs, items in (
        ("Habari", ["Habari"]),
        (list(PAIRS[0]), [PAIRS[0]]),
        ([["Habari"], list(PAIRS[1])], ["Habari", PAIRS[1]]),
    ):
        status, found, _ = server.ask("/predict", {"inputs": inputs, "model": "nli"})
        assert status == 200, found
        listed = [found] if len(items) == 1 else found
        for item, given in zip(items, listed, strict=True):
            scores = [entry["score"] for entry in given]
            assert scores == sorted(scores, reverse=True)
            named = {entry["label"]: entry["score"] for entry in given}
            assert named == pytest.approx(right(item), abs=1e-5)


def test_tei_rerank_orders_by_the_score_of_each_pair(server: Any, models: Any) -> None:
    query, texts = "Wo ist der Bahnhof?", [*TEXTS, "Der Bahnhof ist neben dem Fluss."]
    body = {"query": query, "texts": texts, "model": "rerank", "return_text": True}
    status, found, _ = server.ask("/rerank", body)
    assert status == 200
    right = [models["rerank"].predict([(query, t)])[0] for t in texts]
    assert [f["index"] for f in found] == sorted(
        range(len(texts)), key=lambda n: -float(right[n].values[0])
    )
    for entry in found:
        assert entry["score"] == pytest.approx(float(right[entry["index"]].values[0]), abs=1e-5)
        assert entry["text"] == texts[entry["index"]]
    _, raw, _ = server.ask("/rerank", body | {"raw_scores": True})
    assert raw[0]["score"] == pytest.approx(float(right[raw[0]["index"]].logits[0]), abs=1e-4)
    status, said, _ = server.ask("/rerank", body | {"model": "nli"})
    assert (status, "one score" in said["error"]) == (400, True)


@pytest.mark.parametrize("name", ["embed", "nli", "tag", "span"])
def test_kserve_gives_what_the_model_gives(server: Any, models: Any, name: str) -> None:
    texts, pairs = [p[0] for p in PAIRS], [p[1] for p in PAIRS]
    tensors = [_bytes("TEXT", texts)] + ([_bytes("PAIR", pairs)] if name == "span" else [])
    status, found, _ = server.ask(f"/v2/models/{name}/infer", {"inputs": tensors, "id": "7"})
    assert status == 200, found
    assert found["id"] == "7"
    output, tokens = found["outputs"]
    values = np.array(output["data"], np.float32).reshape(output["shape"])
    model = models[name]
    if name == "embed":
        np.testing.assert_allclose(values, model.encode(texts), atol=1e-5)
    elif name == "nli":
        right = np.stack([p.logits for p in model.predict(texts)])
        np.testing.assert_allclose(values, right, atol=1e-5)
    else:
        results = model.tag(texts) if name == "tag" else model.answer(texts, pairs)
        for row, result in zip(values, results, strict=True):
            np.testing.assert_allclose(row[: result.tokens], result.logits, atol=1e-5)
            assert not row[result.tokens :].any()
        assert tokens["data"] == [r.tokens for r in results]
    _, meta, _ = server.ask(f"/v2/models/{name}")
    assert meta["outputs"][0]["name"] == output["name"]
    assert len(meta["outputs"][0]["shape"]) == values.ndim
    pairs_too = ["TEXT", "PAIR"] if name in ("nli", "span") else ["TEXT"]
    assert [tensor["name"] for tensor in meta["inputs"]] == pairs_too


def _bytes(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}


LONG = "Habari za asubuhi, rafiki yangu. " * 60


def test_truncate_cuts_what_is_too_long(server: Any, models: Any) -> None:
    status, found, _ = server.ask("/embed", {"inputs": LONG, "truncate": True})
    assert status == 200
    np.testing.assert_allclose(found, models["embed"].encode([LONG], truncate=True), atol=1e-5)


def test_a_path_may_name_the_version(server: Any) -> None:
    body = {"inputs": [_bytes("TEXT", TEXTS)]}
    for way, asked in (("", None), ("/ready", None), ("/infer", body)):
        found = server.ask(f"/v2/models/embed/versions/1{way}", asked)
        assert found[:2] == server.ask(f"/v2/models/embed{way}", asked)[:2]
        assert found[0] == 200


def test_a_key_is_asked_of_everyone_but_a_probe(
    start: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    with start({"embed": bundles["embed"]}, api_key="secret ") as running:
        assert running.ask("/health")[0] == 200
        status, found, headers = running.ask("/v1/embeddings", {"input": "x"})
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert "API key" in found["error"]["message"]
        assert "Authorization: Bearer KEY" in found["error"]["message"]
        assert running.ask("/metrics", Authorization="Bearer wrong")[0] == 401
        assert running.ask("/embed", {"inputs": "x"}, Authorization="Bearer secret")[0] == 200
        assert running.ask("/metrics", Authorization="bearer  secret")[0] == 200


@pytest.mark.parametrize(("names", "size"), [(("rerank",), 16), (("embed", "nli"), 65)])
def test_a_size_that_nothing_served_can_give_is_refused_at_the_start(
    bundles: dict[str, Path], names: tuple[str, ...], size: int
) -> None:
    with pytest.raises(InputError, match=rf"--dimensions has {size}; "):
        Service({name: bundles[name] for name in names}, ServeOptions(dimensions=(size,)))


def test_a_full_queue_is_429_with_the_time_to_wait(
    start: Callable[..., Any], bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start({name: bundles[name] for name in ("embed", "tag")}, queue_tokens=8) as running:
        batcher = running.service.models["embed"].batcher
        monkeypatch.setattr(batcher._queue, "tokens", 20_000)
        # That of another model, which is asked by others, is no wait of this one.
        other = running.service.models["tag"].batcher
        monkeypatch.setattr(other._queue, "tokens", 2_000_000)
        status, found, headers = running.ask("/embed", {"inputs": "Habari"})
        assert status == 429
        assert found["error_type"] == "overloaded"
        assert 1 <= int(headers["retry-after"]) <= 20
        # Who is busy is not ill: a probe that failed would end the server.
        assert running.ask("/health")[0] == 200


def test_health_is_an_answer_and_not_a_promise(
    start: Callable[..., Any], bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start({n: bundles[n] for n in ("embed", "span")}) as running:
        both = {"embed": True, "span": True}
        assert running.ask("/health")[:2] == (200, {"ready": True, "models": both})
        session = running.service.models["span"].model.session

        def broken(encodings: Any) -> Any:
            raise RuntimeError("the engine is gone")

        monkeypatch.setattr(session, "start", broken)
        one = {"embed": True, "span": False}
        assert running.ask("/health")[:2] == (503, {"ready": False, "models": one})
        assert running.ask("/v2/health/ready")[0] == 503
        assert running.ask("/v2/health/live")[0] == 200


def test_metrics_count_answers_and_refusals(server: Any) -> None:
    server.ask("/embed", {"inputs": "Habari"})
    server.ask("/embed", {"inputs": ""})
    _, text, _ = server.ask("/metrics")
    assert 'xopt_requests_total{route="/embed",status="200"}' in text
    assert 'xopt_requests_total{route="/embed",status="400"}' in text
    assert 'xopt_queue_tokens{model="embed"} 0.0' in text
    assert "Habari" not in text


def test_openapi_names_every_route_that_is_not_a_page(server: Any) -> None:
    status, found, _ = server.ask("/openapi.json")
    assert status == 200
    assert set(found["paths"]) == set(PATHS)
    for path, methods in found["paths"].items():
        if "get" in methods and "{name}" not in path:
            assert server.ask(path)[0] == 200, path
    assert "paths" in server.ask("/docs")[1]
    assert "<title>xopt serve</title>" in server.ask("/")[1]
    assert server.ask("/page/facts?model=nli")[1]["kind"] == "classify"
    body = {"model": "embed", "texts": TEXTS}
    assert np.shape(server.ask("/page/ask", body)[1]["similarity"]) == (4, 4)
