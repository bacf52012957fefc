"""The endpoints of one gateway."""

from __future__ import annotations

from scripted import config_for, open_network, open_sites
from trio.testing import MockClock

from trio_projectx import Endpoint

TWO = (
    Endpoint("http://rest.test", "http://hub.test/hubs/market", "http://hub.test/hubs/user"),
    Endpoint("http://rest2.test", "http://hub2.test/hubs/market", "http://hub2.test/hubs/user"),
)


async def test_each_has_its_own_rest_token_and_hubs(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_sites(config_for(network, endpoints=TWO)) as sites:
        assert len(sites) == 2
        assert list(sites) == [sites[0], sites[1]]
        assert [site.endpoint for site in sites] == list(TWO)
        assert sites[0].tokens is not sites[1].tokens
        assert sites[0].rest is not sites[1].rest
        assert sites[1].address_of("market").hub_url == "http://hub2.test/hubs/market"
        assert sites[1].address_of("user").hub_url == "http://hub2.test/hubs/user"
        assert (sites.current, sites[sites.current]) == (0, sites[0])
        sites.current = 1
        assert sites[sites.current] is sites[1]


async def test_no_token_is_shown(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_sites(config_for(network)) as sites:
        token = await sites[0].tokens.token()
        assert token not in repr(sites[0]) + repr(list(sites))
        assert "api-key" not in repr(sites[0])
