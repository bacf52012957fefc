using System;

/// <summary>What the environment sets; README.md lists the names.</summary>
static class Settings
{
    public static readonly string Secret = Environment.GetEnvironmentVariable("HUB_SECRET") ?? "loopback-test-secret";

    public static int Int(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), out var value) ? value : otherwise;

    public static bool Bool(string name, bool otherwise)
    {
        var value = Environment.GetEnvironmentVariable(name);
        return value == null ? otherwise : value == "1" || value == "true";
    }

    public static TimeSpan Milliseconds(string name, int otherwise) => TimeSpan.FromMilliseconds(Int(name, otherwise));
}
