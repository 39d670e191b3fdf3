// A worker for the new API: worker.dll [PORT | unix:/path]; without either on the socket that was passed on.
using System.Collections.Concurrent;
using System.Text.Json;
var counts = new ConcurrentDictionary<string, int>();
var facets = new Dictionary<string, Func<string, JsonElement[], object?>> // the session's id and the call's arguments
{
    ["EchoFacet/Echo"] = (session, arguments) => arguments[0],
    ["EnvFacet/Get"] = (session, arguments) => Environment.GetEnvironmentVariable(arguments[0].GetString()!),
    ["SessionFacet/Count"] = (session, arguments) => counts.AddOrUpdate(session, 1, (_, count) => count + 1),
};
var builder = WebApplication.CreateBuilder();
builder.Logging.ClearProviders();
builder.WebHost.ConfigureKestrel(kestrel =>
{
    if (args.Length == 0) kestrel.UseSystemd();
    else if (args[0].StartsWith("unix:")) kestrel.ListenUnixSocket(args[0]["unix:".Length..]);
    else kestrel.ListenLocalhost(int.Parse(args[0]));
});
var app = builder.Build();
app.MapGet("/health", () => Results.Text("OK\n"));
app.MapPost("/{facet}/{method}", async (HttpContext http, string facet, string method) =>
{
    var session = http.Request.Cookies["unisave_session_id"] ?? Guid.NewGuid().ToString("N");
    http.Response.Cookies.Append("unisave_session_id", session, new CookieOptions { HttpOnly = true });
    object answer;
    try
    {
        var body = await JsonSerializer.DeserializeAsync<Dictionary<string, JsonElement[]>>(http.Request.Body);
        var returned = facets[$"{facet}/{method}"](session, body!["arguments"]);
        answer = new { status = "ok", returned, logs = Array.Empty<object>() };
    }
    catch (Exception e)
    {
        var exception = new { ClassName = e.GetType().FullName, e.Message, StackTraceString = e.StackTrace };
        answer = new { status = "exception", exception, isKnownException = false, logs = Array.Empty<object>() };
    }
    return Results.Text(JsonSerializer.Serialize(answer), "application/json");
});
app.Run();
