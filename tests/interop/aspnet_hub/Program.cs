// A gateway on the REAL ASP.NET Core SignalR server. Ours are the hubs and routes of this folder; protocol, transport,
// keep-alive, negotiate and close handling are Microsoft's assemblies. C# 8: the compiler is the Roslyn of SDK 3.1.
using System;
using System.Linq;
using System.Net;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

public static class Program
{
    public static void Main(string[] args)
    {
        var host = Host.CreateDefaultBuilder(args)
            .ConfigureLogging(Log)
            .ConfigureHostOptions(o => o.ShutdownTimeout = TimeSpan.FromSeconds(3))
            .ConfigureWebHostDefaults(web => web
                .ConfigureKestrel(k => k.Listen(IPAddress.Loopback, Settings.Int("HUB_PORT", 0)))
                .ConfigureServices(Services)
                .Configure(Routes))
            .Build();
        host.Start();
        Console.WriteLine("hub ready url=" + host.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>().Addresses.First());
        if (Settings.Bool("HUB_STDIN", false)) _ = Task.Run(() => StopWithParent(host.Services.GetRequiredService<IHostApplicationLifetime>()));
        host.WaitForShutdown();
    }

    // Whoever started us holds our standard input: its end is the end of them, however they ended.
    static void StopWithParent(IHostApplicationLifetime life)
    {
        while (Console.In.Read() >= 0) { }
        life.StopApplication();
    }

    static void Log(ILoggingBuilder log)
    {
        log.ClearProviders();
        if (!Settings.Bool("HUB_LOG", false)) return;
        log.AddSimpleConsole();
        log.SetMinimumLevel(LogLevel.Debug);
    }

    static void Services(IServiceCollection services)
    {
        services.AddRouting();
        services.AddAuthorization();
        services.AddAuthentication("tok").AddScheme<AuthenticationSchemeOptions, TokenHandler>("tok", _ => { });
        services.AddSingleton<Connections>();
        services.AddSingleton<Exchange>();
        services.AddSingleton<Control>();
        services.AddSignalR(Options).AddHubOptions<SilentHub>(o => o.KeepAliveInterval = TimeSpan.FromHours(1));
        services.AddHostedService<Pump>();
    }

    static void Options(HubOptions o)
    {
        o.KeepAliveInterval = Settings.Milliseconds("HUB_KEEPALIVE_MS", 15000);
        o.ClientTimeoutInterval = Settings.Milliseconds("HUB_CLIENTTIMEOUT_MS", 30000);
        o.HandshakeTimeout = Settings.Milliseconds("HUB_HANDSHAKE_MS", 15000);
        o.EnableDetailedErrors = Settings.Bool("HUB_DETAILED", false);
        o.MaximumParallelInvocationsPerClient = Settings.Int("HUB_PARALLEL", 1);
    }

    static void Routes(IApplicationBuilder app)
    {
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        app.UseEndpoints(routes =>
        {
            Action<HttpConnectionDispatcherOptions> options = o =>
            {
                o.CloseOnAuthenticationExpiration = Settings.Bool("HUB_CLOSE_ON_EXPIRY", true);
                o.AllowStatefulReconnects = Settings.Bool("HUB_STATEFUL", true);
            };
            routes.MapHub<MarketHub>("/hubs/market", options);
            routes.MapHub<UserHub>("/hubs/user", options);
            routes.MapHub<SilentHub>("/hubs/silent", options);
            app.ApplicationServices.GetRequiredService<Control>().Map(routes);
        });
    }
}
