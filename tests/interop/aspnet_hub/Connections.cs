using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.SignalR;

/// <summary>A live hub connection, as /control/state shows it.</summary>
public class Connection
{
    public string Id, Path, TokenFrom, User, Transport;
    public HubCallerContext Context;

    /// <summary>When its token ends.</summary>
    public DateTimeOffset Expires;

    /// <summary>Names such as "GatewayTrade CON.F.US.EP.Z26".</summary>
    public readonly ConcurrentDictionary<string, bool> Subs = new ConcurrentDictionary<string, bool>();
}

/// <summary>All live connections of all hubs, and how to send to them from outside a hub.</summary>
public class Connections
{
    readonly ConcurrentDictionary<string, Connection> all = new ConcurrentDictionary<string, Connection>();
    readonly Dictionary<string, IHubClients> clients;
    int connects, disconnects;

    public Connections(IHubContext<MarketHub> market, IHubContext<UserHub> user, IHubContext<SilentHub> silent)
    {
        clients = new Dictionary<string, IHubClients> { ["/hubs/market"] = market.Clients, ["/hubs/user"] = user.Clients, ["/hubs/silent"] = silent.Clients };
    }

    public int Connects => connects;
    public int Disconnects => disconnects;
    public string LastDisconnect { get; private set; } = "";
    public IEnumerable<Connection> All => all.Values;

    public Connection Find(string id) => all.TryGetValue(id, out var connection) ? connection : null;

    public void Enter(Connection connection)
    {
        all[connection.Id] = connection;
        Interlocked.Increment(ref connects);
    }

    public void Leave(string id, string how)
    {
        all.TryRemove(id, out _);
        LastDisconnect = how;
        Interlocked.Increment(ref disconnects);
    }

    /// <summary>Send to one connection; a slow one makes this wait.</summary>
    public Task Send(Connection to, string target, object[] arguments) =>
        clients[to.Path.ToLowerInvariant()].Client(to.Id).SendCoreAsync(target, arguments);

    /// <summary>Send an event to each connection that is subscribed to it, one after the other.</summary>
    public async Task Publish(string target, string contractId, object payload)
    {
        foreach (var each in Subscribed(target, contractId)) await Send(each, target, new[] { contractId, payload });
    }

    /// <summary>Who gets an event. With HUB_MUTE_ON_EXPIRY a connection whose token has ended gets none, though it is pinged on.</summary>
    public Connection[] Subscribed(string target, string contractId) => all.Values.Where(x => x.Subs.ContainsKey(target + " " + contractId) && !IsMute(x)).ToArray();

    static readonly bool MuteOnExpiry = Settings.Bool("HUB_MUTE_ON_EXPIRY", false);
    static bool IsMute(Connection x) => MuteOnExpiry && x.Expires <= DateTimeOffset.UtcNow;
}
