using System;
using System.Globalization;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

/// <summary>HS256 tokens with sub, jti and exp.</summary>
static class Jwt
{
    public static string Make(string sub, double ttlSeconds)
    {
        var exp = DateTimeOffset.UtcNow.AddSeconds(ttlSeconds).ToUnixTimeSeconds();
        var claims = "{\"sub\":\"" + sub + "\",\"jti\":\"" + Guid.NewGuid().ToString("N") + "\",\"exp\":" + exp + "}";
        var body = Encode(Encoding.UTF8.GetBytes("{\"alg\":\"HS256\",\"typ\":\"JWT\"}")) + "." + Encode(Encoding.UTF8.GetBytes(claims));
        return body + "." + Sign(body);
    }

    /// <returns>What is wrong with the token, or null.</returns>
    public static string Check(string token, out string sub, out DateTimeOffset exp)
    {
        sub = null;
        exp = default;
        var parts = token.Split('.');
        if (parts.Length != 3) return "malformed token";
        if (Sign(parts[0] + "." + parts[1]) != parts[2]) return "bad signature";
        using (var claims = JsonDocument.Parse(Decode(parts[1])))
        {
            sub = claims.RootElement.GetProperty("sub").GetString();
            exp = DateTimeOffset.FromUnixTimeSeconds(claims.RootElement.GetProperty("exp").GetInt64());
        }
        return exp <= DateTimeOffset.UtcNow ? "token expired" : null;
    }

    static string Encode(byte[] bytes) => Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');

    static byte[] Decode(string text)
    {
        text = text.Replace('-', '+').Replace('_', '/');
        return Convert.FromBase64String(text.PadRight((text.Length + 3) / 4 * 4, '='));
    }

    static string Sign(string body)
    {
        using (var hash = new HMACSHA256(Encoding.UTF8.GetBytes(Settings.Secret))) return Encode(hash.ComputeHash(Encoding.UTF8.GetBytes(body)));
    }
}

/// <summary>The documented ASP.NET Core pattern: a bearer header anywhere, the access_token query below the hubs only.</summary>
public class TokenHandler : AuthenticationHandler<AuthenticationSchemeOptions>
{
    public TokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory log, UrlEncoder encoder) : base(options, log, encoder) { }

    protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(Authenticate());

    AuthenticateResult Authenticate()
    {
        var token = Find(out var where);
        if (string.IsNullOrEmpty(token)) return AuthenticateResult.NoResult();
        string error, sub;
        DateTimeOffset exp;
        try { error = Jwt.Check(token, out sub, out exp); }
        catch (Exception e) { return AuthenticateResult.Fail(e.Message); }   // whatever a client may send as a token
        if (error != null) return AuthenticateResult.Fail(error);
        var identity = new ClaimsIdentity(new[] { new Claim(ClaimTypes.NameIdentifier, sub), new Claim("token_from", where), new Claim("exp", exp.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture)) }, Scheme.Name);
        var properties = new AuthenticationProperties { ExpiresUtc = exp };   // what CloseOnAuthenticationExpiration looks at
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), properties, Scheme.Name));
    }

    string Find(out string where)
    {
        string header = Request.Headers["Authorization"];
        where = "header";
        if (header != null && header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)) return header.Substring(7).Trim();
        where = "query";
        return Request.Path.StartsWithSegments("/hubs") ? (string)Request.Query["access_token"] : null;
    }
}
