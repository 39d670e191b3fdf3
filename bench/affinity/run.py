#!/usr/bin/env python3
"""What keeping envs where they are loaded is worth: `one_env`, `env_affinity`, `least_requests`, round
robin.

Starts the stand-in workers, then each policy in turn before them, and calls with the same draws of
envs. Writes a table to standard output, and to `--output` where one is given.
"""

import argparse
import asyncio
import bisect
import collections
import itertools
import json
import random
import statistics
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from processes import Servers, env_text, envelope, free_ports, machine, version

COLUMNS = ("calls/s", "reloads", "reloads per 100 calls", "p50 ms", "p99 ms", "longest ms",
           "longest of an env ms", "overlaps", "errors")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=HERE.parents[1] / "target/release/envgate")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=BINARY",
                        help="another build, measured with env_affinity too")
    parser.add_argument("--slice", action="append", default=[], metavar="DURATION",
                        help="one_env with this env_slice, too")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--envs", type=int, default=40)
    parser.add_argument("--zipf", type=float, default=1.1)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, help="calls a second in an open loop, not --clients")
    parser.add_argument("--most", type=int, default=3000, help="of an open loop, under way at once")
    parser.add_argument("--call", type=float, default=0.002, help="seconds that a call takes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="another setting of every envgate")
    parser.add_argument("--replicas", type=int, default=1, help="gateways that share the workers")
    parser.add_argument("--seconds", type=float, default=20, help="measured, a policy and round")
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.seconds = min(options.seconds, 120)
    return options


def draws(options, client):
    """The envs that a client calls, for ever: the same for every policy."""
    weights = [1 / rank**options.zipf for rank in range(1, options.envs + 1)]
    bounds = list(itertools.accumulate(weights))
    source = random.Random(f"{options.seed}/{client}")
    while True:
        yield min(bisect.bisect(bounds, source.random() * bounds[-1]), options.envs - 1)


def requests(options):
    """A whole HTTP request for each env."""
    for number in range(options.envs):
        body = envelope(env_text(number), ["Hello!"]).encode()
        yield (b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body)) + body


async def client(port, envs, prepared, until, calls):
    """Calls one after the other until it is time; notes when each began, how long it took, how it
    was answered (`ok` is as it should be), and its env."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.monotonic()) < until:
        env = next(envs)
        said = await exchange(reader, writer, prepared[env])
        calls.append((began, time.monotonic() - began, said, env))
        if said != "ok":
            await asyncio.sleep(0.05)
    writer.close()


async def exchange(reader, writer, request):
    """One call over one connection; how it was answered."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    is_good = head.startswith(b"http/1.1 200") and b'"result":"ok"' in body
    return "ok" if is_good else (head[9:12] + b" " + body[:100]).decode()


class OpenLoop:
    """Calls at a fixed rate, however long answers take, over as many connections as that needs.
    A call for which `--most` are under way already counts as one that nobody took."""

    def __init__(self, options, ports, prepared, calls):
        self.options = options
        self.ports = ports
        self.prepared = prepared
        self.calls = calls
        self.idle = []
        self.under_way = set()

    async def run(self, until):
        envs = draws(self.options, "open")
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / self.options.rate
            if due >= until:
                break
            if due > (now := time.monotonic()):
                await asyncio.sleep(due - now)
            env = next(envs)
            if len(self.under_way) >= self.options.most:
                self.calls.append((due, 0, "nobody took it", env))
                continue
            port = self.ports[number % len(self.ports)]
            task = asyncio.create_task(self.call(port, env, due))
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        for task in self.under_way:
            task.cancel()
        if self.under_way:
            await asyncio.wait(self.under_way)
        for _, writer in self.idle:
            writer.close()

    async def call(self, port, env, due):
        try:
            link = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", port)
            said = await exchange(*link, self.prepared[env])
            self.idle.append(link)
        except (OSError, asyncio.IncompleteReadError):
            said = "no answer"
        except asyncio.CancelledError:
            said = "unanswered at the end"
        self.calls.append((due, time.monotonic() - due, said, env))


async def measure(options, ports, control):
    prepared = list(requests(options))
    calls = []
    began = time.monotonic()
    measured_from = began + options.warm_up
    until = measured_from + options.seconds
    if options.rate:
        everyone = asyncio.create_task(OpenLoop(options, ports, prepared, calls).run(until))
    else:
        clients = [client(ports[number % len(ports)], draws(options, number), prepared, until,
                          calls) for number in range(options.clients)]
        everyone = asyncio.gather(*clients)
    await asyncio.sleep(options.warm_up)
    before = await asyncio.to_thread(ask, control, "counts")
    await asyncio.sleep(options.seconds)
    after = await asyncio.to_thread(ask, control, "counts")
    await asyncio.wait_for(everyone, 90)
    ended = [call for call in calls if measured_from <= call[0] + call[1] < until]
    good = sorted(taken for _, taken, said, _ in ended if said == "ok")
    errors = collections.Counter(said for _, _, said, _ in ended if said != "ok")
    for said, times in errors.items():
        print(f"{times} times: {said}", file=sys.stderr)
    reloads = total(after, "reloads") - total(before, "reloads")
    done = total(after, "calls") - total(before, "calls")
    return (
        len(good) / options.seconds,
        reloads,
        100 * reloads / max(done, 1),
        1000 * good[len(good) // 2],
        1000 * good[int(len(good) * 0.99)],
        1000 * good[-1],
        1000 * max(longest_wait(calls, env) for env in range(options.envs)),
        total(after, "overlaps") - total(before, "overlaps"),
        errors.total(),
    )


def longest_wait(calls, env):
    """The longest time in which an env had calls under way and none was answered."""
    own = [call for call in calls if call[3] == env and call[2] != "nobody took it"]
    begins = ((began, 1, None) for began, _, _, _ in own)
    ends = ((began + taken, -1, said) for began, taken, said, _ in own)
    longest = under_way = since = 0
    for moment, change, said in sorted((*begins, *ends), key=lambda event: event[:2]):
        longest = max(longest, moment - since if under_way else 0)
        if under_way == 0 or said == "ok":
            since = moment
        under_way += change
    return longest


def ask(port, what):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}", timeout=10) as answer:
        return json.load(answer)


def total(counts, key):
    return sum(each[key] for each in counts)


def start(options, servers, policy, binary, worker_ports):
    """A policy's gateways: their processes and ports."""
    ports = free_ports(options.replicas)
    started = []
    for port in ports:
        if policy == "round robin":
            members = "".join(f"server 127.0.0.1:{each};" for each in worker_ports)
            http = f"""upstream workers {{ zone workers 64k; {members} keepalive 64; }}
                server {{ listen 127.0.0.1:{port}; location / {{
                    proxy_pass http://workers; proxy_http_version 1.1; proxy_next_upstream off;
                    proxy_set_header Connection ""; }} }}"""
            started.append(servers.nginx(port, "", http, workers=2))
        else:
            settings = {"backend.0.dialect": "legacy", "gateway.access_log": "off"}
            if policy.startswith("one_env"):
                settings["backend.0.one_env"] = "true"
                settings["backend.0.env_slice"] = policy.partition(" ")[2] or "100ms"
            else:
                settings["backend.0.balance"] = policy
            settings.update(each.split("=", 1) for each in options.set)
            started.append(servers.envgate(binary, port, worker_ports, settings))
    return started, ports


def run(options):
    arms = [("nginx, round robin", "round robin", None),
            ("envgate, `least_requests`", "least_requests", options.binary),
            ("envgate, `env_affinity`", "env_affinity", options.binary),
            ("envgate, `one_env`", "one_env", options.binary)]
    for slice in options.slice:
        arms.append((f"envgate, `one_env`, slice {slice}", f"one_env {slice}", options.binary))
    for other in options.compare:
        name, _, binary = other.partition("=")
        arms.append((f"envgate, `env_affinity`, {name}", "env_affinity", binary))
    results = {name: [] for name, _, _ in arms}
    with Servers() as servers:
        worker_ports = free_ports(options.workers)
        command = [sys.executable, str(HERE / "workers.py"), "--call", str(options.call),
                   *map(str, worker_ports)]
        servers.start(command, worker_ports[-1])
        for number in range(options.rounds):
            for name, policy, binary in arms:
                ask(worker_ports[0], "reset")
                started, ports = start(options, servers, policy, binary, worker_ports)
                row = asyncio.run(measure(options, ports, worker_ports[0]))
                for server in started:
                    servers.stop(server)
                results[name].append(row)
                print(f"round {number + 1}, {name}: {row}", file=sys.stderr)
    return results


def table(results):
    lines = ["| policy | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for name, rows in results.items():
        values = [statistics.median(column) for column in zip(*rows)]
        cells = [f"{values[0]:.1f}", f"{values[1]:.0f}", f"{values[2]:.1f}", f"{values[3]:.0f}",
                 *(f"{value:.0f}" for value in values[4:])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    options = arguments()
    results = run(options)
    gateways = "" if options.replicas == 1 else f", {options.replicas} gateways side by side"
    loop = (f"an open loop of {options.rate:g} calls a second" if options.rate
            else f"{options.clients} clients in a closed loop")
    text = f"""{options.workers} workers that hold one env each and take 200 ms to load another, \
{options.envs} envs by Zipf({options.zipf}), {loop}{gateways}; \
{options.seconds:g} s a policy after {options.warm_up:g} s of warm-up, median of {options.rounds} \
rounds, seed {options.seed}.

{table(results)}

{machine()}; {version("nginx", "-v")}; {version(str(options.binary), "--version")}; Python \
{sys.version.partition(" ")[0]}.
"""
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
