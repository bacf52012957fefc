"""The form of REST answers: 200 with an envelope, whatever came of the request (GATEWAY.md 1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from trio_projectx.simulator.forms import Form, read_form
from trio_projectx.simulator.http import JsonBody, Request, Response, json_response

Reply: TypeAlias = Response | Awaitable[Response]
Handler: TypeAlias = Callable[[Request], Reply]

_SPEC = "https://tools.ietf.org/html/rfc9110#section-15.5."


def envelope(code: int = 0, message: str | None = None, /, **payload: JsonBody) -> Response:
    """Return an answer with ``errorCode`` and the fields of its payload."""
    return json_response({**payload, "success": code == 0, "errorCode": code, "errorMessage": message})


def posting(form: type[Form], answer: Callable[[Form], Reply]) -> Handler:
    """Return a handler that reads the body as ``form`` and lets ``answer`` answer."""
    return lambda request: answer(read_form(request, form))


def problem_details(status: int, title: str, detail: str, request: Request) -> Response:
    """Return an error as ASP.NET Core's ApiController does (ProblemDetails)."""
    section = {400: 1, 415: 16}.get(status, 1)
    body: JsonBody = {
        "type": f"{_SPEC}{section}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
    }
    return Response(status, msgspec.json.encode(body), "application/problem+json; charset=utf-8")
