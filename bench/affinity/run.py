#!/usr/bin/env python3
"""What keeping envs where they are loaded is worth: `env_affinity`, `least_requests`, round robin.

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

COLUMNS = ("calls/s", "reloads", "reloads per 100 calls", "p50 ms", "p99 ms", "errors")


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
    """Calls one after the other until it is time; notes when each began, how long it took, and
    how it was answered: `ok` is as it should be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.monotonic()) < until:
        writer.write(prepared[next(envs)])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        is_good = head.startswith(b"http/1.1 200") and b'"result":"ok"' in body
        said = "ok" if is_good else (head[9:12] + b" " + body[:100]).decode()
        calls.append((began, time.monotonic() - began, said))
        if not is_good:
            await asyncio.sleep(0.05)
    writer.close()


async def measure(options, ports, control):
    prepared = list(requests(options))
    calls = []
    began = time.monotonic()
    measured_from = began + options.warm_up
    until = measured_from + options.seconds
    clients = [client(ports[number % len(ports)], draws(options, number), prepared, until, calls)
               for number in range(options.clients)]
    everyone = asyncio.gather(*clients)
    await asyncio.sleep(options.warm_up)
    before = await asyncio.to_thread(ask, control, "counts")
    await asyncio.sleep(options.seconds)
    after = await asyncio.to_thread(ask, control, "counts")
    await asyncio.wait_for(everyone, 90)
    ended = [call for call in calls if measured_from <= call[0] + call[1] < until]
    good = sorted(taken for _, taken, said in ended if said == "ok")
    errors = collections.Counter(said for _, _, said in ended if said != "ok")
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
        errors.total(),
    )


def ask(port, what):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}", timeout=10) as answer:
        return json.load(answer)


def total(counts, key):
    return sum(each[key] for each in counts)


def start(servers, policy, binary, worker_ports, replicas):
    """A policy's gateways: their processes and ports."""
    ports = free_ports(replicas)
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
        command = [sys.executable, str(HERE / "workers.py"), *map(str, worker_ports)]
        servers.start(command, worker_ports[-1])
        for number in range(options.rounds):
            for name, policy, binary in arms:
                ask(worker_ports[0], "reset")
                started, ports = start(servers, policy, binary, worker_ports, options.replicas)
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
                 f"{values[4]:.0f}", f"{values[5]:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    options = arguments()
    results = run(options)
    gateways = "" if options.replicas == 1 else f", {options.replicas} gateways side by side"
    text = f"""{options.workers} workers that hold one env each and take 200 ms to load another, \
{options.envs} envs by Zipf({options.zipf}), {options.clients} clients in a closed loop{gateways}; \
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
