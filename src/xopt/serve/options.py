"""What a server is asked to do: one frozen value, from ``xopt.toml`` and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from xopt.errors import InputError
from xopt.host import check_count

__all__ = ["ServeOptions"]


@dataclass(frozen=True)
class ServeOptions:
    """Keys of ``[serve]`` in ``xopt.toml``; see ``xopt serve --help``.

    Attributes:
        host: address to listen at; this machine alone by default.
        port: 0 for a free one.
        threads: cores of the engine, on the CPU; all by default.
        streams: parts of a batch that run side by side, on the CPU; as many as cores by default.
        batch_tokens: most tokens of one batch.
        queue_tokens: tokens that may wait; beyond that a request is answered with 429.
        max_texts: of one request.
        max_text_kib: of one text, in UTF-8; refused before it is tokenized.
        max_body_kib: of one request.
        timeout_s: a request that has waited longer is answered with 503.
        drain_s: how long a stopping server finishes what runs.
        api_key: asked for as ``Authorization: Bearer KEY``; none by default.
        truncate: cut texts that are too long, where a request does not say.
        dimensions: sizes that embeddings may be cut to, for checkpoints trained for it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    threads: int | None = None
    streams: int | None = None
    batch_tokens: int = 4096
    queue_tokens: int = 262_144
    max_texts: int = 2048
    max_text_kib: int = 1024
    max_body_kib: int = 32_768
    timeout_s: float = 60.0
    drain_s: float = 30.0
    api_key: str | None = None
    truncate: bool = False
    dimensions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every number."""
        if not 0 <= self.port <= 65_535:
            raise InputError(
                f"--port is {self.port}; possible: 0 (a free one) to 65535.",
                hint="Without the option it is 8000.",
            )
        if not self.host.strip():
            # An empty address is every address to the system.
            raise InputError(
                "--host is empty.",
                hint="127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses.",
            )
        for name in ("threads", "streams"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in ("batch_tokens", "queue_tokens", "max_texts", "max_text_kib", "max_body_kib"):
            if getattr(self, name) < 1:
                self._refuse(name, "at least 1")
        # A request that may not wait at all is refused before it is answered, each of them.
        if not 0 < self.timeout_s < 1e6:
            self._refuse("timeout_s", "possible: above 0, and below 1,000,000")
        if not 0 <= self.drain_s < 1e6:
            self._refuse("drain_s", "possible: 0 to below 1,000,000")
        if self.api_key is not None and not self.api_key.strip():
            raise InputError("--api-key is empty.", hint="Leave it out, or give a key.")
        # Clients write other characters into a header in different ways, or not at all.
        if self.api_key is not None and not (
            self.api_key.strip().isascii() and self.api_key.strip().isprintable()
        ):
            raise InputError(
                "--api-key has a character that not every client can send.",
                hint="Give ASCII letters, digits and signs; XOPT_API_KEY is read too.",
            )

    def _refuse(self, name: str, possible: str) -> NoReturn:
        default = getattr(type(self), name)
        raise InputError(
            f"--{name.replace('_', '-')} is {getattr(self, name)}; {possible}.",
            hint=f"Without the option it is {default:,}.",
        )
