"""What happens to your accounts: orders, fills, positions and balances, from the user hub.

This library places no orders; here a few lines of HTTP do, as a platform or another program of yours would.
"""

import httpx2
import trio

import trio_projectx as px
from trio_projectx.simulator import Fault


class Desk:
    """Sends market orders to the simulator."""

    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def post(self, route: str, **body: object) -> dict[str, object]:
        answer = await self._http.post(f"/api/{route}", json=body, headers=self._headers)
        return answer.raise_for_status().json()

    async def first(self, route: str, what: str, **body: object) -> object:
        """Return the id of the first of the accounts, or contracts, that the service lists."""
        found = (await self.post(route, **body))[what]
        assert isinstance(found, list)
        return found[0]["id"]

    async def buy(self, account: object, contract: object, size: int) -> None:
        order = {"accountId": account, "contractId": contract, "type": 2, "side": 0, "size": size}
        assert (await self.post("Order/place", **order))["success"]


async def filled(stream: px.Stream[px.UserItem]) -> None:
    """Show what comes until a fill has reached the balance."""
    async for item in stream:
        match item:
            case px.OrderUpdate(status=status, side=side, size=size, filled_price=price):
                print(f"order: {side.name} {size}, {status.name}" + (f" at {price}" if price else ""))
            case px.UserTrade(price=price, size=size, fees=fees):
                print(f"trade: {size} at {price}, fees {fees}")
            case px.PositionUpdate(type=kind, size=size, average_price=price):
                print(f"position: {kind.name} {size} at {price}")
            case px.AccountUpdate(balance=balance):
                print(f"balance: {balance}\n")
                return
            case px.Gap(cause=cause):
                print(f"something may be missing: ask REST for orders and positions ({cause})\n")


async def main() -> None:
    async with (
        px.simulator.open_simulator(seed=7) as simulator,
        httpx2.AsyncClient(base_url=simulator.url, trust_env=False) as http,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_events() as events,
        gateway.open_user_events() as stream,
    ):
        desk = Desk(http, simulator.mint_token())
        account = await desk.first("Account/search", "accounts", onlyActiveAccounts=True)
        contract = await desk.first("Contract/search", "contracts", searchText="MNQ", live=False)
        with trio.fail_after(30):
            await desk.buy(account, contract, 1)
            await filled(stream)
            # A connection is lost: the next event comes on another one, behind a Gap.
            simulator.inject(Fault("tcp_reset", hub="user"))
            async for event in events:
                if isinstance(event, px.HubStateChanged) and event.before is px.HubState.RECONNECTING:
                    break
            await desk.buy(account, contract, 2)
            await filled(stream)


trio.run(main)
