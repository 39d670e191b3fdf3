#!/usr/bin/env python3
"""What envgate adds to a cold start, what a storm of them costs, and what a hot env takes.

Cold starts one after another, each of an env that was never seen, by a worker that takes over a
listening socket (`listen = "inherit"`). The gateway's share of one: from the client's first byte to
the first byte of the call at the worker, less what the worker itself took from the first line of
its `main` until it could accept. So the gateway answers for the launcher, the worker's exec and its
dynamic linking too. Worker and client read the same clock.

What the worker needs by itself, from its exec until it accepts, is measured by starting it alone by
`posix_spawn`; the share less the median of that is told beside it. The first start of a gateway has
no spare launcher and is among the rest.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cold_starts import call, compiled, gateway, percentile, request, storm
from processes import Servers, free_ports, machine, resident, version

MAX_STARTING = (2, 8, 32)
HOT_ENVS = (1, 100, 1000)
TARGETS = {50: 2.0, 99: 10.0}  # milliseconds
BUCKETS = (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 20, 50)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=HERE.parents[1] / "target/release/envgate")
    parser.add_argument("--starts", type=int, default=500, help="one after another")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two")
    parser.add_argument("--storm", type=int, default=100, help="envs at once; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=5, help="storms of each kind")
    parser.add_argument("--no-memory", action="store_true", help="leave the hot envs out")
    parser.add_argument("--output", type=Path, help="where the table goes; the SVG goes beside it")
    options = parser.parse_args()
    options.starts = min(options.starts, 5000)
    return options


def shares(port, options):
    """The gateway's share, the worker's own time and the whole of each start, in milliseconds."""
    rows = []
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(options.starts):
        message = request(number)
        sent, (began, listens, came) = call(connection, message)
        answered = time.time_ns()
        own = listens - began
        rows.append(((came - sent - own) / 1e6, own / 1e6, (answered - sent) / 1e6,
                     (began - sent) / 1e6, (came - listens) / 1e6))
        time.sleep(options.pause)
    return rows


def bare(servers, command):
    """Milliseconds from a plain `posix_spawn` of the worker until it accepts."""
    path = str(Path(servers.directory.name, "bare"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sent = time.time_ns()
        child = os.posix_spawn(command[0], command, {},
                               file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)])
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.sendall(b"POST / HTTP/1.1\r\n\r\n")
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                listens = json.loads(answer.read())["returned"][1]
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    os.unlink(path)
    return (listens - sent) / 1e6


def storms(servers, options, workers):
    """The medians, for each worker and each number of starts at once."""
    found = {}
    for round_number in range(options.rounds):
        for name, command in workers.items():
            for most in MAX_STARTING:
                limits = {"max": 128, "max_starting": most}
                port, process = gateway(servers, options.binary, command, limits)
                waits = storm(port, options.storm, 1)
                row = waits[options.storm // 2], waits[-1]
                servers.stop(process)
                found.setdefault((name, most), []).append(row)
                print(f"storm {round_number + 1}, {name}, {most} at once: {row}", file=sys.stderr)
    return {key: [statistics.median(column) for column in zip(*rows)] for key, rows in found.items()}


def memory(servers, options):
    """Resident bytes of a gateway over one upstream worker after calls of so many envs."""
    worker = free_ports(1)[0]
    servers.start([str(options.binary), "worker", "--framework", "0.12.0", "--listen", f"127.0.0.1:{worker}"], worker)
    port = free_ports(1)[0]
    process = servers.envgate(options.binary, port, [worker], {"gateway.access_log": "off",
                                                                "gateway.threads": 2})
    found = {0: resident(process.pid)}
    connection = socket.create_connection(("127.0.0.1", port), 10)
    done = 0
    for most in HOT_ENVS:
        for number in range(done, most):
            call(connection, request(number, ["x"]))
        done = most
        found[most] = resident(process.pid)
    return found


def histogram(values):
    """Rows of an upper bound in milliseconds (None: more than all) and a count."""
    rows, below = [], 0
    values = sorted(values)
    for bound in BUCKETS:
        count = sum(value <= bound for value in values)
        rows.append((bound, count - below))
        below = count
    rows.append((None, len(values) - below))
    used = [index for index, (_, count) in enumerate(rows) if count]
    return rows[max(used[0] - 1, 0):used[-1] + 1]


def bars(rows):
    most = max(count for _, count in rows)
    return "\n".join(f"{f'≤ {bound}' if bound else 'more':>8} ms {count:5} "
                     f"{'█' * round(50 * count / most)}" for bound, count in rows)


def svg(rows, marks):
    """The histogram as a picture, with the percentiles named below it."""
    width, height, left, top = 640, 300, 46, 34
    most = max(count for _, count in rows)
    step = (width - left - 12) / len(rows)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 70}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height + 70}" fill="white"/>',
             f'<text x="{left}" y="20" font-size="14">Cold starts: the gateway\'s share</text>']
    for index, (bound, count) in enumerate(rows):
        high = (height - top) * count / most
        x, y = left + index * step, height - high
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 3:.1f}" height="{high:.1f}" '
                     'fill="#3572a5"/>')
        if count:
            parts.append(f'<text x="{x + step / 2 - 1.5:.1f}" y="{y - 4:.1f}" '
                         f'text-anchor="middle">{count}</text>')
        name = f"≤ {bound}" if bound else "more"
        parts.append(f'<text x="{x + step / 2 - 1.5:.1f}" y="{height + 16}" '
                     f'text-anchor="middle">{name}</text>')
    parts.append(f'<line x1="{left}" y1="{height}" x2="{width - 12}" y2="{height}" '
                 'stroke="black"/>')
    said = ", ".join(f"{name} {value:.2f}" for name, value in marks.items())
    parts.append(f'<text x="{left}" y="{height + 34}">milliseconds</text>')
    parts.append(f'<text x="{left}" y="{height + 56}">{said} ms</text></svg>')
    return "\n".join(parts) + "\n"


def marks(values):
    values = sorted(values)
    found = {f"p{part}": percentile(values, part) for part in (50, 90, 99)}
    return found | {"max": values[-1]}


def start_report(rows, plain, options):
    names = ("**gateway's share**", "worker's own, `main` to accept", "whole call, as the client "
             "sees it", "of the share: until the worker's `main`",
             "of the share: from its accept to the call's first byte")
    lines = ["| milliseconds | p50 | p90 | p99 | max |", "|---|---:|---:|---:|---:|"]
    for name, column in zip(names, zip(*rows)):
        values = " | ".join(f"{value:.2f}" for value in marks(column).values())
        lines.append(f"| {name} | {values} |")
    values = " | ".join(f"{value:.2f}" for value in marks(plain).values())
    lines.append(f"| the worker alone: a plain `posix_spawn` of it until it accepts | {values} |")
    less = [row[0] - statistics.median(plain) for row in rows]
    values = " | ".join(f"{value:.2f}" for value in marks(less).values())
    lines.append(f"| the share, less the median of the worker alone | {values} |")
    table = "\n".join(lines)
    share = [row[0] for row in rows]
    found = marks(share)
    met = ", ".join(f"p{part} ≤ {target} ms {'met' if found[f'p{part}'] <= target else 'MISSED'}"
                    for part, target in TARGETS.items())
    text = (f"{len(rows)} cold starts of as many envs, one after another, {1000 * options.pause:.0f} "
            f"ms between two. Targets: {met}.\n\n{table}\n\n"
            f"```text\n{bars(histogram(share))}\n```\n")
    return text, svg(histogram(share), found)


def storm_report(found, options):
    lines = [f"{options.storm} envs at once, `instances.max = 128`; median of {options.rounds} "
             "rounds, each with a gateway of its own.\n",
             "| worker | `max_starting` | half answered, ms | all answered, ms |",
             "|---|---:|---:|---:|"]
    for (name, most), (half, last) in found.items():
        lines.append(f"| {name} | {most} | {1000 * half:.0f} | {1000 * last:.0f} |")
    return "\n".join(lines) + "\n"


def memory_report(found):
    lines = ["A gateway over one upstream worker, two threads, after one call of each env.\n",
             "| hot envs | resident, KiB | an env, KiB |", "|---:|---:|---:|"]
    for envs, size in found.items():
        each = f"{(size - found[0]) / envs / 1024:.1f}" if envs > 1 else ""
        lines.append(f"| {envs} | {size // 1024} | {each} |")
    return "\n".join(lines) + "\n"


def main():
    options = arguments()
    with Servers() as servers:
        least = [compiled(servers.directory.name)]
        # Old ones make room, so that the machine isn't full of them.
        port, process = gateway(servers, options.binary, least, {"max": 1000})
        rows = shares(port, options)
        servers.stop(process)
        plain = sorted(bare(servers, least) for _ in range(200))
        starts, picture = start_report(rows, plain, options)
        text = f"## One start after another\n\n{starts}\n"
        if options.storm:
            sample = [str(options.binary), "worker", "--listen", "inherit", "--framework", "0.12.0"]
            python = [sys.executable, str(HERE.parents[1] / "examples/python/worker.py")]
            workers = {"the least": least, "sample": sample, "Python": python}
            found = storms(servers, options, workers)
            text += f"## A storm\n\n{storm_report(found, options)}\n"
        if not options.no_memory:
            text += f"## Memory\n\n{memory_report(memory(servers, options))}\n"
    text += (f"{machine()}; {version(str(options.binary), '--version')}; "
             f"{version('rustc', '--version')}.\n")
    print(text)
    if options.output:
        options.output.write_text(text)
        options.output.with_suffix(".svg").write_text(picture)


if __name__ == "__main__":
    main()
