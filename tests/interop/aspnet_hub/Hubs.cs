using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http.Connections.Features;
using Microsoft.AspNetCore.SignalR;

/// <summary>What all hubs share: the registry of connections, and one probe for every feature of the protocol.</summary>
public abstract class ProbeHub : Hub
{
    protected readonly Connections Connections;
    protected ProbeHub(Connections connections) { Connections = connections; }

    public override Task OnConnectedAsync()
    {
        Connections.Enter(new Connection
        {
            Id = Context.ConnectionId, Context = Context, Path = Context.GetHttpContext().Request.Path, User = Context.UserIdentifier,
            TokenFrom = Context.User?.FindFirst("token_from")?.Value, Transport = Context.Features.Get<IHttpTransportFeature>()?.TransportType.ToString(),
            Expires = DateTimeOffset.FromUnixTimeSeconds(long.Parse(Context.User.FindFirst("exp").Value, CultureInfo.InvariantCulture)),
        });
        return Task.CompletedTask;
    }

    public override Task OnDisconnectedAsync(Exception error)
    {
        Connections.Leave(Context.ConnectionId, error == null ? "graceful" : error.GetType().Name + ": " + error.Message);
        return Task.CompletedTask;
    }

    protected void Subscribe(string name) { if (Connections.Find(Context.ConnectionId) is Connection me) me.Subs[name] = true; }
    protected void Unsubscribe(string name) { if (Connections.Find(Context.ConnectionId) is Connection me) me.Subs.TryRemove(name, out _); }

    public object Echo(object x) => x;
    public int Add(int a, int b) => a + b;
    public void Nothing() { }
    public string Throw(string m) => throw new InvalidOperationException(m);
    public string ThrowHub(string m) => throw new HubException(m);
    public string WhoAmI() => Context.UserIdentifier + "|" + Context.User?.FindFirst("token_from")?.Value;

    public async IAsyncEnumerable<int> Counter(int n, int delayMs, [EnumeratorCancellation] CancellationToken ct = default)
    {
        for (var i = 0; i < n; i++) { if (delayMs > 0) await Task.Delay(delayMs, ct); yield return i; }
    }

    public async IAsyncEnumerable<int> CounterFail(int n)
    {
        for (var i = 0; i < n; i++) { await Task.Yield(); yield return i; }
        throw new HubException("Ran out of data!");
    }

    public async Task<int> Sum(IAsyncEnumerable<int> xs) { var sum = 0; await foreach (var x in xs) sum += x; return sum; }

    // Works with HUB_PARALLEL 1 too: the answer of the client goes past the calls that wait for their turn.
    public async Task<string> AskClient(string target) => "client said " + await Clients.Caller.InvokeAsync<object>(target, CancellationToken.None);

    public async Task Slow(int ms) => await Task.Delay(ms);
    public Task Emit(string target, JsonElement[] args) => Clients.Caller.SendCoreAsync(target, args.Cast<object>().ToArray());

    public async Task Burst(string target, string contractId, int n)
    {
        for (var i = 0; i < n; i++) await Clients.Caller.SendAsync(target, contractId, new { seq = i, price = 5000.25m + i * 0.25m, volume = i + 1 });
    }

    public Task Big(string target, int bytes) => Clients.Caller.SendAsync(target, new string('x', bytes));
}

public abstract class ContractHub : ProbeHub
{
    readonly Exchange exchange;
    protected ContractHub(Connections connections, Exchange exchange) : base(connections) { this.exchange = exchange; }

    public void SubscribeContractQuotes(string contractId) => Begin("GatewayQuote", contractId);
    public void SubscribeContractTrades(string contractId) => Begin("GatewayTrade", contractId);
    public void SubscribeContractMarketDepth(string contractId) => Begin("GatewayDepth", contractId);
    public void UnsubscribeContractQuotes(string contractId) => Unsubscribe("GatewayQuote " + contractId);
    public void UnsubscribeContractTrades(string contractId) => Unsubscribe("GatewayTrade " + contractId);
    public void UnsubscribeContractMarketDepth(string contractId) => Unsubscribe("GatewayDepth " + contractId);

    void Begin(string target, string contractId)
    {
        exchange.Open(contractId);
        Subscribe(target + " " + contractId);
    }
}

[Authorize] public class MarketHub : ContractHub { public MarketHub(Connections c, Exchange e) : base(c, e) { } }

/// <summary>A market hub that never pings: its KeepAliveInterval is an hour.</summary>
[Authorize] public class SilentHub : ContractHub { public SilentHub(Connections c, Exchange e) : base(c, e) { } }

/// <summary>Its subscriptions are recorded; events come from /control/send only.</summary>
[Authorize] public class UserHub : ProbeHub
{
    public UserHub(Connections connections) : base(connections) { }
    public void SubscribeAccounts() => Subscribe("GatewayUserAccount");
    public void SubscribeOrders(long accountId) => Subscribe("GatewayUserOrder " + accountId);
    public void SubscribePositions(long accountId) => Subscribe("GatewayUserPosition " + accountId);
    public void SubscribeTrades(long accountId) => Subscribe("GatewayUserTrade " + accountId);
    public void UnsubscribeAccounts() => Unsubscribe("GatewayUserAccount");
    public void UnsubscribeOrders(long accountId) => Unsubscribe("GatewayUserOrder " + accountId);
    public void UnsubscribePositions(long accountId) => Unsubscribe("GatewayUserPosition " + accountId);
    public void UnsubscribeTrades(long accountId) => Unsubscribe("GatewayUserTrade " + accountId);
}
