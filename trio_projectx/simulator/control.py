"""The control routes, which make a simulator do what a real gateway does only when it hurts (CONTROL.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from trio_projectx._errors import ConfigError
from trio_projectx.signalr import Invocation, JsonValue, LocalProtocolError, write_message
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.faults import Fault, FaultState, parse_fault, parse_script
from trio_projectx.simulator.faults.engine import Faults
from trio_projectx.simulator.http import JsonBody, Request, Response, json_response, problem
from trio_projectx.simulator.hubs import Hubs
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.outgoing import CLOSE, CLOSE_AND_COME_BACK
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.tokens import TokenOffice
from trio_projectx.simulator.truth_routes import answer_deliveries, answer_truth

Route: TypeAlias = Callable[[Request], Response]

# msgspec cannot build a recursive alias; what it decodes as Any is exactly a JsonValue.
_ARGUMENTS: Final = msgspec.json.Decoder(list[Any])
#: Beyond it the plan of a minute would take long to make; `speed` and a replay go further.
_TRADES_PER_S_MAX: Final = 2_000.0


_FAULTS: Final = "/control/faults"


class ControlError(Exception):
    """A parameter of a control route that cannot be honoured."""


class Control:
    """Answers requests below ``/control/``; ``stop`` is called by ``/control/stop``."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenOffice,
        hubs: Hubs,
        exchange: Exchange,
        counters: Counters,
        faults: Faults,
        stop: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._hubs = hubs
        self._exchange = exchange
        self._counters = counters
        self._faults = faults
        self._stop = stop
        self._routes: dict[str, tuple[str, Route]] = {
            "/control/token": ("GET", self._token),
            "/control/state": ("GET", self._state),
            "/control/abort": ("POST", self._abort),
            "/control/requestclose": ("POST", self._request_close),
            "/control/drop": ("POST", self._drop),
            "/control/hz": ("POST", self._hz),
            "/control/send": ("POST", self._send),
            "/control/logout": ("POST", self._log_out),
            "/control/fault": ("POST", self._inject),
            "/control/script": ("POST", self._script),
            "/control/truth": ("GET", self._truth),
            "/control/deliveries": ("GET", self._deliveries),
            "/control/stop": ("POST", self._stop_all),
        }

    def answer(self, request: Request) -> Response:
        """Answer ``request``; a parameter that makes no sense is a 400."""
        if request.path == _FAULTS or request.path.startswith(f"{_FAULTS}/"):
            return self._answer_faults(request, request.path.removeprefix(_FAULTS).removeprefix("/"))
        method, route = self._routes.get(request.path, ("", None))
        if route is None:
            return problem(404, "there is no such control route")
        if request.method != method:
            return Response(405, headers=(("Allow", method),))
        try:
            return route(request)
        except (
            ControlError,
            ConfigError,
            msgspec.MsgspecError,
            LocalProtocolError,
            UnicodeDecodeError,
            RecursionError,
        ) as exc:
            return problem(400, str(exc))

    def _token(self, request: Request) -> Response:
        ttl_s = _number(request, "ttl", 3600.0)
        return json_response({"token": self._tokens.mint(self._settings.username, ttl_s)})

    def _state(self, _: Request) -> Response:
        counters, replay = self._counters, self._exchange.replay
        body: dict[str, JsonBody] = {
            "seed": self._settings.seed,
            "connects": counters.hub_connections,
            "disconnects": counters.disconnects,
            "lastDisconnect": counters.last_disconnect,
            "connections": [_shown(link) for link in self._hubs.links.values()],
            "tradesSent": counters.trades_sent,
        }
        if replay is not None:
            state = replay.state
            body["replay"] = {"sent": state.sent, "total": state.total, "done": state.done}
        return json_response(body)

    def _abort(self, request: Request) -> Response:
        return self._each(request, lambda link: link.finish(CLOSE))

    def _request_close(self, request: Request) -> Response:
        return self._each(request, lambda link: link.finish(CLOSE_AND_COME_BACK))

    def _drop(self, request: Request) -> Response:
        return self._each(request, Link.drop)

    def _each(self, request: Request, act: Callable[[Link], None]) -> Response:
        links = self._picked(request)
        for link in links:
            act(link)
        return json_response({"n": len(links)})

    def _log_out(self, request: Request) -> Response:
        return json_response({"n": self._hubs.log_out(request.query.get("conn"))})

    def _hz(self, request: Request) -> Response:
        self._exchange.set_trades_per_s(min(_TRADES_PER_S_MAX, max(0.0, _number(request, "v", 20.0))))
        return json_response({"ok": True})

    def _send(self, request: Request) -> Response:
        arguments: list[JsonValue] = _ARGUMENTS.decode(request.body)
        text = write_message(Invocation(target=request.query.get("target", "x"), arguments=arguments))
        for link in self._picked(request):
            if not link.outbox.offer(text):
                link.drop_slow()
        return json_response({"ok": True})

    def _truth(self, request: Request) -> Response:
        return answer_truth(self._exchange.truth, request)

    def _deliveries(self, request: Request) -> Response:
        return answer_deliveries(self._exchange.deliveries, request)

    def _stop_all(self, _: Request) -> Response:
        self._stop()
        return json_response({"ok": True})

    def _inject(self, request: Request) -> Response:
        return json_response({"id": self._faults.inject(parse_fault(request.body)).id})

    def _script(self, request: Request) -> Response:
        steps = parse_script(request.body)
        self._faults.run_script(steps)
        return json_response({"steps": len(steps)})

    def _answer_faults(self, request: Request, name: str) -> Response:
        states = [state for state in self._faults.states() if name in ("", state.id)]
        if name and not states:
            return problem(404, "there is no such fault")
        if request.method == "GET":
            shown: list[JsonBody] = [_shown_fault(state) for state in states]
            return json_response(shown[0] if name else {"faults": shown})
        if request.method != "DELETE":
            return Response(405, headers=(("Allow", "GET, DELETE"),))
        return json_response({"n": int(self._faults.remove(name)) if name else self._faults.clear()})

    def _picked(self, request: Request) -> list[Link]:
        wanted = request.query.get("conn")
        return [link for name, link in self._hubs.links.items() if wanted is None or name == wanted]


def _shown(link: Link) -> JsonBody:
    identity = link.identity
    return {
        "Id": identity.connection_id,
        "Path": f"/hubs/{identity.hub}",
        "TokenFrom": identity.token_from,
        "User": identity.user,
        "Transport": "WebSockets",
        "subs": list(link.subscriptions),
    }


def _shown_fault(state: FaultState) -> JsonBody:
    fault = state.fault
    given: dict[str, JsonBody] = {
        field.name: getattr(fault, field.name)
        for field in attrs.fields(Fault)
        if field.name != "name" and getattr(fault, field.name) != field.default
    }
    told: dict[str, JsonBody] = {"struck": state.struck, "over": state.over}
    return {"id": state.id, "name": fault.name, **given, **told, "connections": list(state.connections)}


def _number(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise ControlError(f"{name} must be a number")
    return value
