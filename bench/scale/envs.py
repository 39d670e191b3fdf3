"""Many envs, the calls that carry them, and gateways that keep them all hot."""

import hashlib
import itertools
import random
import re
import socket
import sys
import time
import urllib.request
from array import array
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from processes import env_text, envelope, free_ports

ENVELOPE_BYTES = 1100
MODERN = '{"status":"ok","returned":"Hello!","logs":[]}'
DRAWS = 1 << 20
SEED = 20261121
ZIPF = 1.1
BATCH = 64  # calls that are pipelined to warm a gateway up
HEAD = (f"POST / HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
        f"Content-Length: {ENVELOPE_BYTES}\r\n\r\n").encode()
CALL_BYTES = len(HEAD) + ENVELOPE_BYTES


def env(number):
    """An env that admission refuses no call of."""
    return env_text(number) + "WORKER_REQUEST_CONCURRENCY=null\n"


def call(number):
    """A request with one of the envs; all have one length.

    Of a long string LuaJIT hashes the bytes in the middle and few others: there, in the argument,
    no two are alike, or wrk would take minutes to load them.
    """
    short = envelope(env(number), [""])
    argument = hashlib.sha512(str(number).encode()).hexdigest()[:ENVELOPE_BYTES - len(short)]
    request = HEAD + short.replace('[""]', f'["{argument}"]').encode()
    assert len(request) == CALL_BYTES, "the env leaves room for an argument"
    return request


def calls(servers, count):
    """A file of the calls of so many envs, one behind the other."""
    path = Path(servers.directory.name, f"calls-{count}")
    with path.open("wb") as file:
        for number in range(count):
            file.write(call(number))
    return path


def draws(servers, count, how):
    """A file of numbers of envs, 32 bits each, as a fixed seed draws them."""
    chance = random.Random(SEED)
    if how == "uniform":
        drawn = chance.choices(range(count), k=DRAWS)
    else:
        # The popular ones lie anywhere among the others, as they would in a gateway's memory.
        numbers = chance.sample(range(count), count)
        weights = itertools.accumulate(rank ** -ZIPF for rank in range(1, count + 1))
        drawn = chance.choices(numbers, cum_weights=list(weights), k=DRAWS)
    path = Path(servers.directory.name, f"draws-{count}-{how}")
    path.write_bytes(array("I", drawn).tobytes())
    return path


def backend(servers):
    """The port of a worker that answers each call at once."""
    port = free_ports(1)[0]
    http = f"""client_max_body_size 1m; client_body_buffer_size 256k;
        server {{ listen 127.0.0.1:{port}; default_type application/json;
        location / {{ return 200 '{MODERN}'; }} }}"""
    servers.nginx(port, "", http, workers=1)
    return port


class Gateway:
    """An envgate over one upstream worker, and what it says of itself."""

    def __init__(self, servers, binary, upstream, settings):
        self.port = free_ports(1)[0]
        settings = {"gateway.access_log": "off", "gateway.threads": 1, "log.level": "warn"} | settings
        self.process = servers.envgate(binary, self.port, [upstream], settings)
        self.pid = self.process.pid

    def metrics(self):
        """Its counters: calls answered well and otherwise, env texts found and not, hot envs."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = {"ok": 0, "other": 0}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            # wrk leaves with its last calls under way.
            if name.startswith("envgate_calls_total{") and 'outcome="client_gone"' not in name:
                found["ok" if 'outcome="ok"' in name else "other"] += float(value)
            elif re.fullmatch(r"envgate_(hot_envs|connections|env_lookup_\w+)", name):
                found[name.removeprefix("envgate_").removesuffix("_total")] = float(value)
        return found

    def warm(self, path):
        """Calls each env of a file of calls once, many calls a write."""
        with (path.open("rb") as file,
              socket.create_connection(("127.0.0.1", self.port), 30) as connection):
            while batch := file.read(BATCH * CALL_BYTES):
                count = len(batch) // CALL_BYTES
                connection.sendall(batch)
                answers = b""
                while answers.count(b'"executionDuration":') < count:
                    came = connection.recv(1 << 20)
                    if not came:
                        raise RuntimeError("the gateway closed the connection")
                    answers += came
                if answers.count(b"HTTP/1.1 200 ") != count:
                    raise RuntimeError(f"a call failed: {answers[:500]}")

    def check_hot(self, envs, since=None):
        """That so many envs are hot, that each call was answered well, and that since then no text
        of one had to be parsed."""
        found = self.metrics()
        if found["other"] or found["hot_envs"] != envs:
            raise RuntimeError(f"{envs} envs should be hot, and all calls well: {found}")
        if since and since["env_lookup_misses"] != found["env_lookup_misses"]:
            raise RuntimeError(f"texts were parsed again: {since}, later {found}")
        return found


def settle(seconds=1.0):
    """Lets connections close and memory come back."""
    time.sleep(seconds)
