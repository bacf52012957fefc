"""What becomes of the connections, told as it happens; here with a simulator that misbehaves on command.

A program that trades keeps such a task beside its own: it stops when data are not live, and says why.
"""

import trio

import trio_projectx as px
from trio_projectx.simulator import Fault


async def report(events: px.Stream[px.ConnectionEvent | px.Dropped], said: list[str]) -> None:
    async for event in events:
        match event:
            case px.HubStateChanged(hub=hub, before=before, state=state, reason=reason):
                said.append(state.value)
                print(f"{hub} hub: {before.value} -> {state.value} ({reason})")
            case px.TokenRefreshed(expires_at=int(at)):
                said.append("token")
                print(f"a new token, good until {px.to_datetime(at):%Y-%m-%d %H:%M} UTC")
            case px.ConnectionReplaced(hub=hub, cause=cause, overlapped=overlapped):
                said.append("replaced")
                print(f"{hub} hub: another connection ({cause}), {'no gap' if overlapped else 'with a gap'}")
            case px.Dropped(count=count):
                print(f"{count} events were not read in time")
            case _:
                print(event)


async def main() -> None:
    said: list[str] = []
    async with (
        px.simulator.open_simulator(seed=7) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_events() as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(report, events, said)
        async with gateway.open_trades("MNQ", events=True) as trades:
            with trio.fail_after(20):
                simulator.inject(Fault("tcp_reset", hub="market", after_records=5))
                async for item in trades:
                    if isinstance(item, px.Gap):
                        print(f"a gap of {(item.end - item.start) / 1e6:.0f} ms in {item.contract_id}")
                        break
                await gateway.refresh_token()
                while "replaced" not in said:
                    await trades.receive()
        nursery.cancel_scope.cancel()
    assert said == ["connecting", "live", "reconnecting", "live", "token", "replaced"], said


trio.run(main)
