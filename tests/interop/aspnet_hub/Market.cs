using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text.RegularExpressions;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Hosting;

/// <summary>One trade of a contract's market; Seq counts them from 0 without a hole.</summary>
public class Trade
{
    public long Seq, UnixMs;
    public decimal Price;
    public int Volume, Type;
}

/// <summary>The one market of a contract: all its subscribers see these trades. Its methods are called one at a time.</summary>
public class Market
{
    static readonly Regex Form = new Regex(@"^CON\.F\.US\.([A-Z0-9]{1,8})\.[FGHJKMNQUVXZ][0-9]{2}\z");

    // Tick size and a usual price of some products, of every kind of tick there is.
    static readonly Dictionary<string, (decimal Tick, decimal Price)> Products = new Dictionary<string, (decimal, decimal)>
    {
        ["EP"] = (.25m, 6500m), ["ENQ"] = (.25m, 24000m), ["MES"] = (.25m, 6500m), ["MNQ"] = (.25m, 24000m), ["RTY"] = (.1m, 2400m), ["YM"] = (1m, 46000m),
        ["EU6"] = (.00005m, 1.17m), ["JY6"] = (.0000005m, .0068m), ["TYA"] = (.015625m, 112m), ["CLE"] = (.01m, 64m), ["NGE"] = (.001m, 3m),
        ["GCE"] = (.1m, 4000m), ["MGC"] = (.1m, 4000m), ["SIE"] = (.005m, 48m), ["CPE"] = (.0005m, 5m), ["MBT"] = (5m, 110000m),
    };

    public readonly string Id, Symbol;
    readonly decimal tick;
    readonly long middle;
    // The exchange's clock may be another than the server's: whether a market is open must not depend on when the tests run.
    static readonly long ShiftMs = 1000L * Settings.Int("HUB_STAMP_SHIFT_S", 0);
    readonly List<Trade> trades = new List<Trade>();
    long lastMs;

    Market(string id, string product)
    {
        (Id, Symbol, tick) = (id, "F.US." + product, Products[product].Tick);
        middle = (long)(Products[product].Price / tick);
    }

    public static Market Of(string contractId)
    {
        var match = Form.Match(contractId ?? "");
        return match.Success && Products.ContainsKey(match.Groups[1].Value) ? new Market(contractId, match.Groups[1].Value) : null;
    }

    public Trade[] Truth { get { lock (trades) return trades.ToArray(); } }

    /// <summary>Make the next n trades: numbered, on the tick grid, with stamps that never go back.</summary>
    public Trade[] Make(int n)
    {
        lastMs = Math.Max(lastMs, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() + ShiftMs);
        lock (trades)
        {
            var made = Enumerable.Range(0, n).Select(i => Numbered(trades.Count + i)).ToArray();
            trades.AddRange(made);
            return made;
        }
    }

    Trade Numbered(long seq)
    {
        var dice = unchecked((ulong)seq * 0x9E3779B97F4A7C15UL) >> 24;
        return new Trade { Seq = seq, UnixMs = lastMs, Price = Price(middle - 40 + (long)(dice % 81)), Volume = 1 + (int)(dice / 81 % 9), Type = (int)(dice / 729 % 2) };
    }

    // The division takes trailing zeros away: the live wire says 29546, not 29546.00.
    decimal Price(long ticks) => ticks * tick / 1.0000000000000000000000000000m;

    public object TradeObject(Trade t) => new { symbolId = Symbol, price = t.Price, timestamp = Stamp(t.UnixMs, "fff"), type = t.Type, volume = t.Volume, contractId = Id };

    public object Quote(Trade last)
    {
        var at = (long)(last.Price / tick);
        var (bid, ask, stamp) = (Price(at - 1), Price(at + 1), Stamp(last.UnixMs, "fff"));
        // Every second one is sparse, as most are on the live wire.
        if (last.Seq % 2 == 1) return new { symbol = Symbol, bestBid = bid, bestAsk = ask, lastUpdated = Stamp(last.UnixMs, "fffffff"), timestamp = stamp, contract = Id };
        return new { symbol = Symbol, lastPrice = last.Price, bestBid = bid, bestAsk = ask, change = 0.5m, changePercent = 0.01m, open = Price(middle), high = Price(middle + 40),
            low = Price(middle - 40), volume = last.Seq + 1, lastUpdated = Stamp(last.UnixMs, "fffffff"), timestamp = stamp, contract = Id };
    }

    public object Depth(Trade last) => new[] { new { timestamp = Stamp(last.UnixMs, "fffffff"), type = 1 + (int)(last.Seq % 6), price = last.Price, volume = last.Volume, currentVolume = last.Volume } };

    static string Stamp(long unixMs, string fraction) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("yyyy-MM-dd'T'HH:mm:ss'.'" + fraction + "'+00:00'", CultureInfo.InvariantCulture);
}

/// <summary>All markets. A market opens with the first subscription to its contract, and goes on whoever leaves.</summary>
public class Exchange
{
    readonly ConcurrentDictionary<string, Market> markets = new ConcurrentDictionary<string, Market>();
    readonly SemaphoreSlim turn = new SemaphoreSlim(1);
    readonly Connections connections;
    public Exchange(Connections connections) { this.connections = connections; }

    public IEnumerable<Market> Markets => markets.Values.OrderBy(x => x.Id, StringComparer.Ordinal);

    public void Open(string contractId)
    {
        if (Market.Of(contractId) == null) throw new InvalidOperationException("no such contract");
        markets.GetOrAdd(contractId, Market.Of);
    }

    /// <summary>Make n trades and send them in events of `per`, in order, to every subscriber; one caller at a time.</summary>
    public async Task<Trade[]> Trade(Market market, int n, int per)
    {
        await turn.WaitAsync();
        try
        {
            var made = market.Make(n);
            for (var i = 0; i < n; i += per)
                await connections.Publish("GatewayTrade", market.Id, made.Skip(i).Take(per).Select(market.TradeObject).ToArray());
            return made;
        }
        finally { turn.Release(); }
    }

    public async Task Tick(Market market, long round)
    {
        var made = await Trade(market, 1 + (int)(round % 3), 3);
        await connections.Publish("GatewayQuote", market.Id, market.Quote(made[made.Length - 1]));
        await connections.Publish("GatewayDepth", market.Id, market.Depth(made[made.Length - 1]));
    }
}

/// <summary>Lets all markets go on, Hz times a second; 0 stands still.</summary>
public class Pump : BackgroundService
{
    public static volatile int Hz = Settings.Int("HUB_HZ", 20);
    readonly Exchange exchange;
    public Pump(Exchange exchange) { this.exchange = exchange; }

    protected override async Task ExecuteAsync(CancellationToken ct)
    {
        for (long round = 0; !ct.IsCancellationRequested; round++)
        {
            var hz = Hz;
            await Task.Delay(hz > 0 ? Math.Max(1, 1000 / hz) : 10, ct);
            if (hz > 0) foreach (var market in exchange.Markets) await exchange.Tick(market, round);
        }
    }
}
