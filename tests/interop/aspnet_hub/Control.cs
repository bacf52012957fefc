using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text.Json;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

/// <summary>The routes of CONTROL.md, and the two REST routes a client logs in with.</summary>
public class Control
{
    readonly Connections connections;
    readonly Exchange exchange;
    readonly IHostApplicationLifetime life;

    public Control(Connections connections, Exchange exchange, IHostApplicationLifetime life)
    {
        (this.connections, this.exchange, this.life) = (connections, exchange, life);
    }

    public void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost("/api/Auth/loginKey", c => Json(c, new { token = Jwt.Make("tester", Ttl), success = true, errorCode = 0, errorMessage = (string)null }));
        routes.MapPost("/api/Auth/validate", c => Json(c, new { success = true, errorCode = 0, errorMessage = (string)null, newToken = Jwt.Make("tester", Ttl) }));
        routes.MapGet("/control/token", c => Json(c, new { token = Jwt.Make("tester", double.Parse(Query(c, "ttl", "3600"), CultureInfo.InvariantCulture)) }));
        routes.MapGet("/control/state", c => Json(c, State()));
        routes.MapGet("/control/truth", Truth);
        routes.MapPost("/control/trades", Trades);
        routes.MapPost("/control/hz", c => { Pump.Hz = int.Parse(Query(c, "v", "20"), CultureInfo.InvariantCulture); return Json(c, new { ok = true }); });
        routes.MapPost("/control/abort", c => Each(c, x => x.Context.Abort()));
        routes.MapPost("/control/requestclose", c => Each(c, x => x.Context.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose()));
        routes.MapPost("/control/drop", c => Each(c, x => x.Context.GetHttpContext()?.Abort()));
        routes.MapPost("/control/send", Send);
        routes.MapPost("/control/stop", Stop);
    }

    static int Ttl => Settings.Int("HUB_TTL_S", 86400);

    object State() => new
    {
        runtime = Environment.Version.ToString(), signalr = typeof(Hub).Assembly.GetName().Version.ToString(),
        connects = connections.Connects, disconnects = connections.Disconnects, lastDisconnect = connections.LastDisconnect,
        connections = connections.All.Select(x => new { x.Id, x.Path, x.TokenFrom, x.User, x.Transport, subs = x.Subs.Keys }).ToArray(),
    };

    async Task Truth(HttpContext c)
    {
        var wanted = Query(c, "contract", null);
        c.Response.ContentType = "application/x-ndjson";
        foreach (var market in exchange.Markets.Where(x => wanted == null || x.Id == wanted))
            foreach (var t in market.Truth)
                await c.Response.WriteAsync(JsonSerializer.Serialize(new { seq = t.Seq, ts_event = t.UnixMs * 1_000_000, contract_id = market.Id, price = t.Price, volume = t.Volume, side = t.Type }) + "\n");
    }

    async Task Trades(HttpContext c)
    {
        var market = exchange.Markets.FirstOrDefault(x => x.Id == Query(c, "contract", ""));
        int n = int.Parse(Query(c, "n", "1"), CultureInfo.InvariantCulture), per = int.Parse(Query(c, "per", "1"), CultureInfo.InvariantCulture);
        if (market == null || n < 1 || n > 1_000_000 || per < 1) { c.Response.StatusCode = 400; return; }
        var made = await exchange.Trade(market, n, per);
        await Json(c, new { first = made[0].Seq, last = made[n - 1].Seq });
    }

    async Task Send(HttpContext c)
    {
        var arguments = await JsonSerializer.DeserializeAsync<JsonElement[]>(c.Request.Body);
        foreach (var x in Picked(c)) await connections.Send(x, Query(c, "target", "x"), arguments.Cast<object>().ToArray());
        await Json(c, new { ok = true });
    }

    async Task Stop(HttpContext c)
    {
        await Json(c, new { ok = true });
        _ = Task.Delay(50).ContinueWith(_ => life.StopApplication());   // the answer goes out first
    }

    Task Each(HttpContext c, Action<Connection> act)
    {
        var picked = Picked(c);
        foreach (var x in picked) act(x);
        return Json(c, new { n = picked.Length });
    }

    Connection[] Picked(HttpContext c)
    {
        var id = Query(c, "conn", null);
        return connections.All.Where(x => id == null || x.Id == id).ToArray();
    }

    static string Query(HttpContext c, string name, string otherwise) => c.Request.Query.TryGetValue(name, out var value) ? (string)value : otherwise;

    static Task Json(HttpContext c, object body)
    {
        c.Response.ContentType = "application/json";
        return c.Response.WriteAsync(JsonSerializer.Serialize(body));
    }
}
