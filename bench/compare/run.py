#!/usr/bin/env python3
"""What a call costs: envgate translating it, beside nginx, HAProxy, Pingora and nginx with Lua.

All stand before the same upstream and get the same calls. A round measures every gateway in turn,
each round in another order; ratios are taken within a round. Any answer other than 200, and any
error of a socket, ends the run without a result.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import gateways
import loads
import needs
import report
from chart import chart
from lua_check import check_lua
from processes import Servers, machine, resident, version

# Rounds of a closed loop by threads and connections, then those of an open one.
ROUNDS = {(1, 32): 7, (1, 1): 3, (1, 256): 3, (2, 32): 5}
OPEN_ROUNDS = 7
OPEN_CONNECTIONS, OPEN_SIZE = 32, loads.SIZES[0]
# Part of nginx's calls a second at saturation that an open loop asks of all.
OPEN_PART = 0.5
# What a measurement takes besides what is measured: warm-up, checks, start and end of a load.
CLOSED_REST_SECONDS, OPEN_REST_SECONDS = 0.5, 0.9
ONLY_BESIDE = {"lua-cjson"}  # measured at 32 connections and one thread alone, unless asked for


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of what matters most")
    parser.add_argument("--sizes", nargs="+", choices=loads.SIZES)
    parser.add_argument("--connections", nargs="+", type=int)
    parser.add_argument("--threads", nargs="+", type=int, help="threads or processes of each")
    parser.add_argument("--loops", nargs="+", choices=("closed", "open"))
    parser.add_argument("--gateways", nargs="+", choices=list(gateways.TITLES),
                        help="these, and the nginx that they are compared with")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, default=1,
                        help=f"of a closed loop; {loads.LONGER} times as long for {loads.LARGE}")
    parser.add_argument("--open-seconds", type=int, default=2)
    parser.add_argument("--no-priority", action="store_true",
                        help="the open loop's load takes its turn like every process")
    parser.add_argument("--binary", type=Path, default=needs.ROOT / "target/release/envgate")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=BINARY",
                        help="another build of envgate, measured too")
    parser.add_argument("--syscalls", action="store_true", help="count them with strace, once each")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results")
    parser.add_argument("--report", type=Path, metavar="JSON",
                        help="measure nothing: write the Markdown and SVG of this result anew")
    parser.add_argument("--readme-table", action="store_true", help="with --report: print it only")
    parser.add_argument("--check-lua", action="store_true",
                        help="measure nothing: whether the Lua peers translate")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    options.programs = needs.ROOT / "target/compare/release"
    options.compare = {name: str(Path(binary).resolve()) for name, _, binary in
                       (each.partition("=") for each in options.compare)}
    if set(options.compare) & set(gateways.TITLES):
        parser.error("--compare: this name is taken")
    options.seconds, options.open_seconds = min(options.seconds, 30), min(options.open_seconds, 30)
    return options


def plan(options):
    """The cells to measure, those of a number of threads together."""
    cells = []
    for threads in options.threads or ([1] if options.quick else [1, 2]):
        for loop in options.loops or ["closed", "open"]:
            for connections in options.connections or ([32] if options.quick else [32, 1, 256]):
                for size in options.sizes or loads.SIZES:
                    rounds = rounds_of(options, loop, threads, connections, size)
                    if rounds:
                        cells.append({"loop": loop, "threads": threads, "size": size,
                                      "connections": connections, "planned": rounds})
    return cells


def rounds_of(options, loop, threads, connections, size):
    """How many rounds a cell gets; none for what isn't asked for and isn't worth its time."""
    if loop == "open":
        usual = (options.connections or connections == OPEN_CONNECTIONS) and \
            (options.sizes or size == OPEN_SIZE)
        rounds = OPEN_ROUNDS if usual else 0
    else:
        rounds = ROUNDS.get((threads, connections), 3 if options.connections else 0)
        if size == loads.LARGE:
            rounds = -(-rounds * 2 // 3)
    if rounds and options.rounds:
        return min(options.rounds, 100)
    return min(rounds, 2) if options.quick else rounds


def chosen(options):
    names = options.gateways or list(gateways.TITLES)
    names = {*names, *options.compare, "nginx"}
    if names & set(gateways.MODERN_CLIENTS):
        names.add("nginx-modern")
    return [name for name in [*gateways.TITLES, *options.compare] if name in names]


def in_cell(options, names, cell):
    beside = cell["loop"] == "closed" and cell["threads"] == 1 and cell["connections"] == 32
    return [name for name in names
            if beside or name not in ONLY_BESIDE or options.gateways]


class Progress:
    """Says on stderr what is done and about how long the rest takes."""

    def __init__(self, options, cells, names):
        self.left = sum(cell["planned"] * len(in_cell(options, names, cell)) * length(options, cell)
                        for cell in cells)
        self.planned, self.began = self.left, time.monotonic()
        print(f"about {self.left / 60:.0f} minutes", file=sys.stderr)

    def done(self, seconds, what):
        self.left -= seconds
        spent, done = time.monotonic() - self.began, self.planned - self.left
        minutes = max(self.left, 0) * spent / done / 60
        print(f"{what}; about {minutes:.1f} minutes remain", file=sys.stderr)


def length(options, cell):
    """Seconds that a gateway takes in a round of this cell, about."""
    if cell["loop"] == "open":
        return options.open_seconds + OPEN_REST_SECONDS
    times = loads.LONGER if cell["size"] == loads.LARGE else 1
    return options.seconds * times + CLOSED_REST_SECONDS + loads.WARM_UP_SECONDS * (times - 1)


def half_of_nginx(options, cells, cell, nginx, call):
    """The rate of an open loop: from this run's closed loop of the same load, else measured now."""
    same = [other for other in cells if other["loop"] == "closed" and other.get("rounds") and all(
        other[key] == cell[key] for key in ("threads", "size", "connections"))]
    if same:
        rates = [row["nginx"]["calls_per_second"] for row in same[0]["rounds"]]
    else:
        rates = [loads.closed(nginx, call, cell["connections"], cell["threads"], options.seconds)
                 ["calls_per_second"] for _ in range(3)]
    return OPEN_PART * statistics.median(rates)


def measure(options, cells, names):
    """Fills the cells with their rounds; what else is told of the run."""
    progress = Progress(options, cells, names)
    found = {"idle_rss": {}, "syscalls": {}, "bytes": {}}
    for threads in dict.fromkeys(cell["threads"] for cell in cells):
        with Servers() as servers:
            starter = gateways.Starter(servers, options, threads)
            running = {name: starter.start(name) for name in names}
            found["idle_rss"][threads] = {name: resident(each.process.pid)
                                          for name, each in running.items()}
            calls = {(client, size): loads.Call(servers, client, size)
                     for client in ("legacy", "modern") for size in loads.SIZES}
            found["bytes"] = {f"{client}, {size}": len(call.body)
                              for (client, size), call in calls.items()}
            for cell in cells:
                if cell["threads"] == threads:
                    fill(options, cells, cell, running, calls, progress)
            if options.syscalls and not found["syscalls"]:
                found["syscalls"] = {
                    size: {name: loads.syscalls(each, calls[each.client, size], 32)
                           for name, each in running.items()}
                    for size in options.sizes or loads.SIZES}
    return found


def fill(options, cells, cell, running, calls, progress):
    names = in_cell(options, list(running), cell)
    size, connections, threads = cell["size"], cell["connections"], cell["threads"]
    if cell["loop"] == "open":
        cell["asked_per_second"] = half_of_nginx(options, cells, cell, running["nginx"],
                                                 calls["legacy", size])
    rounds = []
    for number in range(cell["planned"]):
        rows = {}
        # Each begins a round in its turn, and none always follows the same.
        first = number % len(names)
        order = names[first:] + names[:first]
        for name in order if number % 2 == 0 else reversed(order):
            call = calls[running[name].client, size]
            if cell["loop"] == "open":
                rows[name] = loads.open_loop(running[name], call, connections,
                                             cell["asked_per_second"], options.open_seconds,
                                             options)
            else:
                rows[name] = loads.closed(running[name], call, connections, threads,
                                          options.seconds)
        rounds.append(rows)
        what = f"{report.cell_title(cell)}, round {number + 1} of {cell['planned']}"
        progress.done(len(names) * length(options, cell), what)
    cell["rounds"] = rounds


def run(options):
    cells, names = plan(options), chosen(options)
    if not cells:
        raise needs.Missing("nothing to measure: such a cell needs its --connections or --sizes")
    result = {"machine": machine(), "versions": [
        version("nginx", "-v"), version("haproxy", "-v"), pingora_version(),
        version("wrk", "-v"), version(str(options.binary), "--version")],
        "seconds": options.seconds, "open_seconds": options.open_seconds, "cells": cells}
    return result | measure(options, cells, names)


def pingora_version():
    lines = (HERE / "pingora/Cargo.lock").read_text().splitlines()
    return "Pingora " + lines[lines.index('name = "pingora"') + 1].split('"')[1]


def write(result, directory, name="compare"):
    directory.mkdir(parents=True, exist_ok=True)
    directory.joinpath(f"{name}.md").write_text(report.markdown(result))
    picture = chart(result)
    if picture:
        directory.joinpath(f"{name}.svg").write_text(picture)


def main():
    options = arguments()
    if options.report:
        result = json.loads(options.report.read_text())
        if options.readme_table:
            print(report.readme_table(result))
        else:
            write(result, options.report.parent, options.report.stem)
        return 0
    try:
        needs.provide(options)
        if options.check_lua:
            return 0 if check_lua() else 1
        result = run(options)
    except (needs.Missing, loads.Invalid, RuntimeError, OSError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("no result: interrupted", file=sys.stderr)
        return 130
    options.output.mkdir(parents=True, exist_ok=True)
    options.output.joinpath("compare.json").write_text(json.dumps(result, indent=1) + "\n")
    write(result, options.output)
    print(report.markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
