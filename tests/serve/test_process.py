"""The command as a process: it starts, answers, and stops when it is told to."""

from __future__ import annotations

import contextlib
import inspect
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xopt.cli import app
from xopt.cli.serve import read_places, serve
from xopt.errors import InputError
from xopt.serve.options import ServeOptions


def test_sighup_opens_what_was_replaced_and_sigterm_ends_the_server(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "served"
    shutil.copytree(bundles["embed"], place)
    command = [sys.executable, "-P", "-m", "xopt", "serve", str(place), "--port", "0"]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        contextlib.ExitStack() as stack,
    ):
        # Whatever fails below, nothing waits for a server that nobody ends.
        stack.callback(process.kill)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next(line for line in lines if line.startswith("serving ")).split(" at ")[1]
        body = json.dumps({"input": ["Habari"] * 50}).encode()
        with urllib.request.urlopen(address.strip() + "v1/embeddings", body) as answer:
            assert len(json.load(answer)["data"]) == 50
        shutil.rmtree(place)
        shutil.copytree(bundles["nli"], place)
        process.send_signal(signal.SIGHUP)
        assert "is answered by its new bundle" in next(line for line in lines if "bundle" in line)
        body = json.dumps({"inputs": "Habari"}).encode()
        with urllib.request.urlopen(address.strip() + "predict", body) as answer:
            assert len(json.load(answer)) == 3
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate()
        assert process.returncode in (0, -signal.SIGTERM)
        assert "Traceback" not in rest


def test_names_of_bundles() -> None:
    assert read_places(["a/e5", "mini=b/c"]) == {"e5": Path("a/e5"), "mini": Path("b/c")}
    for bundles, said, typed in (
        (["a/e5", "b/e5"], "stands twice", {"e5": Path("a/e5"), "e5-2": Path("b/e5")}),
        (["=b c"], "has no name", {"NAME": Path("b c")}),
        (["a/b=c"], "'a/b' is no name: it has a slash", {"NAME": Path("c")}),
        (["a="], "no folder", {"a": Path("FOLDER")}),
    ):
        with pytest.raises(InputError, match=said) as caught:
            read_places(bundles)
        _, command = caught.value.hint.split("xopt serve ")
        assert read_places(shlex.split(command)) == typed


def test_a_folder_with_the_sign_in_its_name_is_told_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "e5=v2"
    folder.mkdir()
    with pytest.raises(InputError, match="it has a slash") as caught:
        read_places([str(folder)])
    assert caught.value.hint == f"Type: xopt serve NAME={folder}"


@pytest.mark.parametrize("name", [".", "..", " ", "a\nb", "a\udcff", "a\x7f"])
def test_a_name_that_clients_cannot_send_is_refused(name: str) -> None:
    # In a path the first two are folders; JSON holds no half of a surrogate pair.
    with pytest.raises(InputError, match="no name that clients can send"):
        read_places([f"{name}=b/c"])


def test_only_this_machine_is_served_unless_that_is_said() -> None:
    assert ServeOptions().host == "127.0.0.1"
    # What nobody types is left to the options.
    assert inspect.signature(serve).parameters["host"].default is None


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "a..b"])
def test_an_address_that_cannot_be_had_is_said_before_a_bundle_is_opened(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = CliRunner().invoke(app, ["serve", "nowhere", "--host", host, "--port", str(port)])
    assert isinstance(found.exception, InputError)
    assert f"cannot listen at {host}, port {port}: " in found.exception.message
    assert "--port 0" in found.exception.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70_000), ("batch_tokens", 0), ("drain_s", -1.0), ("timeout_s", float("nan")),
     ("timeout_s", 0.0), ("api_key", " "), ("host", ""), ("host", " ")],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name.replace("_", "-")):
        ServeOptions(**{name: value})  # type: ignore[arg-type]


def test_a_number_that_cannot_be_is_told_with_the_default() -> None:
    for name, value, default in (
        ("port", -1, "8000"), ("queue_tokens", 0, "262,144"), ("timeout_s", 0.0, "60.0"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            ServeOptions(**{name: value})  # type: ignore[arg-type]
        assert caught.value.hint == f"Without the option it is {default}."
    assert ServeOptions(drain_s=0).drain_s == 0


@pytest.mark.parametrize("key", ["cl\udcff", "a\nb", "clé", "a\x01", "\x00"])
def test_a_key_that_no_client_can_send_is_refused_before_a_bundle_is_opened(key: str) -> None:
    with pytest.raises(InputError, match="not every client can send"):
        ServeOptions(api_key=key)
    assert ServeOptions(api_key=" a b! ").api_key == " a b! "


def test_an_empty_key_in_the_environment_does_not_open_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XOPT_API_KEY", "")
    typed = ["serve", "nowhere", "--host", "a..b", "--port", "0"]
    found = CliRunner().invoke(app, typed)
    assert isinstance(found.exception, InputError)
    assert found.exception.message == "XOPT_API_KEY is empty."
    found = CliRunner().invoke(app, [*typed, "--api-key", "k"])
    assert isinstance(found.exception, InputError)
    assert "cannot listen at a..b" in found.exception.message
