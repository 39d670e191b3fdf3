"""The gateways that are compared, each as one who knows it well would set it up.

All stand before the same upstream, an nginx that reads each call whole and answers a constant. No
one writes an access log. What was tried and left out for being slower is said at each.
"""

import dataclasses
import subprocess
from pathlib import Path

from processes import free_ports

HERE = Path(__file__).resolve().parent
MODULES = Path("/usr/lib/nginx/modules")
LUA = "".join(f"load_module {MODULES}/{name}.so; "
              for name in ("ndk_http_module", "ngx_http_lua_module"))
ANSWERS = {
    "modern": '{"status":"ok","returned":"Hello!","logs":[]}',
    "legacy": '{"result":"ok","returned":"Hello!","special":{"sessionId":null,"logs":[],'
              '"executionDuration":0.000123}}',
}

# Bodies stay in memory, and the head and body of a small call come with one read.
NGINX_BODIES = """client_max_body_size 2m; client_body_buffer_size 1m;
    client_header_buffer_size 4k; tcp_nodelay on;"""
NGINX_PASSING = 'proxy_http_version 1.1; proxy_set_header Connection "";'
HAPROXY = """
global
    nbthread {threads}
    maxconn 4096
    tune.bufsize {buffer}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend calls
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    server one 127.0.0.1:{upstream}
"""
HAPROXY_BUFFER = 65536


@dataclasses.dataclass
class Gateway:
    """One gateway that runs."""

    name: str
    client: str  # the form of the calls that it is sent
    port: int
    process: subprocess.Popen
    answer: str  # the form of what it answers


# Name in options and results, and what it is called in tables.
TITLES = {
    "nginx": "nginx, passing",
    "haproxy": "HAProxy, passing",
    "pingora": "Pingora, passing",
    "lua": "nginx + Lua, translating",
    "lua-cjson": "nginx + Lua, translating by cjson",
    "legacy-modern": "envgate legacy → modern",
    "legacy-legacy": "envgate legacy → legacy",
    "nginx-modern": "nginx, passing modern calls",
    "modern-modern": "envgate modern → modern",
    "modern-legacy": "envgate modern → legacy",
}
PASSING = ("nginx", "haproxy", "pingora", "nginx-modern")
LUA_MODULES = {"lua": "translate", "lua-cjson": "translate_cjson"}
MODERN_CLIENTS = ("nginx-modern", "modern-modern", "modern-legacy")


def title(name):
    return TITLES.get(name) or f"envgate legacy → modern, {name}"


def baseline(name):
    """The nginx that passes the same bytes."""
    return "nginx-modern" if name in MODERN_CLIENTS else "nginx"


def lua_http(port, upstream, module):
    """An nginx that translates: its `http` block before this upstream."""
    return f"""{NGINX_BODIES} {upstream}
        lua_package_path "{HERE}/?.lua;;";
        init_by_lua_block {{ translate = require "{module}" }}
        server {{ listen 127.0.0.1:{port};
            location / {{
                set $session "";
                rewrite_by_lua_block {{ translate.call() }}
                header_filter_by_lua_block {{ translate.head() }}
                body_filter_by_lua_block {{ translate.body() }}
                proxy_pass http://workers; {NGINX_PASSING}
                proxy_set_header X-Unisave-Request Facet;
                proxy_set_header Content-Type application/json;
                proxy_set_header Cookie $session;
                proxy_set_header Accept-Encoding "";
            }}
        }}"""


class Starter:
    """Starts gateways of one number of threads over upstreams of their own."""

    def __init__(self, servers, options, threads):
        self.servers, self.options, self.threads = servers, options, threads
        self.upstream = dict(zip(ANSWERS, free_ports(2)))
        blocks = "".join(f"""server {{ listen 127.0.0.1:{self.upstream[form]};
            default_type application/json; location / {{ content_by_lua_block {{
                ngx.req.read_body()
                ngx.header["Content-Length"] = {len(answer)}
                ngx.print('{answer}')
            }} }} }}""" for form, answer in ANSWERS.items())
        servers.nginx(self.upstream["modern"], "", NGINX_BODIES + blocks, threads, LUA)

    def start(self, name):
        """The gateway of this name."""
        port = free_ports(1)[0]
        client = "modern" if name in MODERN_CLIENTS else "legacy"
        # Those that pass hand on the upstream's own form.
        translating = name not in PASSING
        answer = client if translating else "modern"
        peers = {"nginx": self.nginx, "nginx-modern": self.nginx, "haproxy": self.haproxy,
                 "pingora": self.pingora, "lua": self.lua, "lua-cjson": self.lua}
        start = peers.get(name, self.envgate)
        return Gateway(name, client, port, start(name, port), answer)

    def nginx(self, _name, port):
        """Sending on before the body is whole (`proxy_request_buffering off`) costs more."""
        http = f"""{NGINX_BODIES} {self.keepalive()} server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://workers; {NGINX_PASSING} }} }}"""
        return self.servers.nginx(port, "", http, self.threads)

    def lua(self, name, port):
        http = lua_http(port, self.keepalive(), LUA_MODULES[name])
        return self.servers.nginx(port, "", http, self.threads, LUA)

    def keepalive(self):
        return (f"upstream workers {{ server 127.0.0.1:{self.upstream['modern']}; "
                "keepalive 512; keepalive_requests 1000000000; }")

    def haproxy(self, _name, port):
        """`option splice-auto` and larger buffers were tried."""
        config = HAPROXY.format(port=port, upstream=self.upstream["modern"],
                                threads=self.threads, buffer=HAPROXY_BUFFER)
        path = self.servers.file(f"haproxy{port}.cfg", config)
        return self.servers.start(["haproxy", "-q", "-db", "-f", path], port)

    def pingora(self, _name, port):
        command = [self.options.programs / "passing", port, self.upstream["modern"], self.threads]
        return self.servers.start([str(part) for part in command], port)

    def envgate(self, name, port):
        """One of the four pairs, or another build's legacy → modern."""
        binary = self.options.compare.get(name, self.options.binary)
        settings = {"gateway.access_log": "off", "gateway.threads": self.threads,
                    "log.level": "warn"}
        flags, variables, upstream = [], {}, "modern"
        if name.endswith("-legacy") and name in TITLES:
            flags, upstream = ["--dialect", "legacy"], "legacy"
        if name == "modern-legacy":
            # A modern call carries no env: a legacy worker gets the gateway's own.
            settings["env.fallback"] = "deployment"
            variables = {"WORKER_REQUEST_CONCURRENCY": "null"}
        return self.servers.envgate(binary, port, [self.upstream[upstream]], settings,
                                    flags=flags, variables=variables)
