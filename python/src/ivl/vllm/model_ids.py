"""Model names of a server: the base, each value, and all of them, as weights of a request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from ivl.vllm.served_values import REQUEST_ARGUMENT, Served

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: Largest body that is read, in bytes: longer ones go on unread.
_LARGEST_BODY = 64 << 20


class ModelIds:
    """An ASGI middleware that turns the name of a model into `vllm_xargs`, before vLLM reads the request."""

    def __init__(self, app: Callable[[dict[str, Any], Receive, Send], Awaitable[None]]) -> None:
        self._app, self._served = app, Served.from_environment()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request."""
        path = scope.get("path", "")
        asks = scope.get("type") == "http" and scope.get("method") == "POST" and path.endswith("/completions")
        if not asks or self._served is None:
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= _LARGEST_BODY:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        changed = body if more else self._with_weights(body)
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        if not more:
            headers.append((b"content-length", str(len(changed)).encode()))
        given = False

        async def replay() -> dict[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": changed, "more_body": more}

        await self._app({**scope, "headers": headers if not more else scope["headers"]}, replay, send)

    def _with_weights(self, body: bytes) -> bytes:
        try:
            request = json.loads(body)
        except ValueError:
            return body
        # vLLM refuses what is no request.
        if not isinstance(request, dict) or not isinstance(request.get("model"), str) or self._served is None:
            return body
        alphas = self._served.alphas_of(request["model"])
        arguments = request.get("vllm_xargs") or {}
        if alphas is None or not isinstance(arguments, dict) or REQUEST_ARGUMENT in arguments:
            return body
        if alphas == [value.alpha for value in self._served.values]:
            return body
        return json.dumps({**request, "vllm_xargs": {**arguments, REQUEST_ARGUMENT: alphas}}).encode()
