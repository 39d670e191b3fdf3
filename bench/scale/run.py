#!/usr/bin/env python3
"""What grows with the number of envs and connections: CPU a call, memory, and a storm of starts.

Gateways with one thread stand before a worker that answers each call at once: one for each number
of envs, all of which are hot before anything is measured and are proved to be hot by the gateway's
own counters after it. A round measures each in turn while the others rest; its cost is compared
with that of one env in the same round.
"""

import argparse
import json
import resource
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import cost
import memory
import report
from cold_starts import compiled, gateway, storm
from envs import backend
from processes import Servers, machine, version

BESIDE_CONNECTIONS = 600  # descriptors that a gateway and this bench need for all else


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=HERE.parents[1] / "target/release/envgate")
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 100, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=3, help="measured, a load and round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=10_000, help="idle ones; 0 leaves them out")
    parser.add_argument("--storm", type=int, default=100, help="envs at once; 0 leaves it out")
    parser.add_argument("--storms", type=int, default=5, help="storms of each worker")
    parser.add_argument("--quick", action="store_true",
                        help="a first impression: few rounds, at most 10,000 envs, 1,000 connections")
    parser.add_argument("--output", type=Path, help="where the tables go; JSON and SVG go beside it")
    options = parser.parse_args()
    if options.quick:
        options.envs = [envs for envs in options.envs if envs <= 10_000]
        options.seconds, options.rounds, options.storms = 1, 2, 1
        options.connections = min(options.connections, 1000)
    options.envs = sorted({1, *options.envs})
    options.seconds = int(max(1, min(options.seconds, 60)))
    return options


def descriptors(options):
    """As many open files as the system lets this bench and its gateways have, and no more
    connections than fit."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and options.connections > most - BESIDE_CONNECTIONS:
        options.connections = most - BESIDE_CONNECTIONS
        print(f"the limit on open files, {most}, allows {options.connections} connections",
              file=sys.stderr)


def storms(servers, options):
    """Seconds that each env of each storm waited, by worker."""
    found = {}
    workers = {
        "the least": [compiled(servers.directory.name)],
        "sample": [str(options.binary), "worker", "--listen", "inherit", "--framework", "0.12.0"],
    }
    for number in range(options.storms):
        for name, command in workers.items():
            # Starts at once, and what an idle one keeps, are at their defaults.
            limits = {"max": options.storm + 28}
            port, process = gateway(servers, options.binary, command, limits)
            waits = storm(port, options.storm, 1)
            servers.stop(process)
            found.setdefault(name, []).append(waits)
            print(f"storm {number + 1}, {name}: all answered after {1000 * waits[-1]:.0f} ms",
                  file=sys.stderr)
    return found


def measure(options):
    found = {}
    with Servers() as servers:
        upstream = backend(servers)
        hots = cost.start(servers, options, upstream)
        found["envs"] = memory.of_envs(hots)
        found["idle"] = min(hot.idle for hot in hots)
        rounds = cost.rounds(hots, options)
        for hot in hots:
            servers.stop(hot.gateway.process)
        found["cost"] = cost.summary(rounds)
        found["rounds"] = [{"envs": envs, "drawn": how, "rows": rows}
                           for (envs, how), rows in rounds.items()]
        found["connections"] = []
        if options.connections:
            for calls in (0, 1):
                row = memory.of_connections(servers, options, upstream, calls)
                found["connections"].append(row)
        found["storms"] = storms(servers, options) if options.storm else {}
    return found


def main():
    options = arguments()
    descriptors(options)
    found = measure(options)
    found["where"] = (f"{machine()}; {version('nginx', '-v')}; {version('wrk', '-v')}; "
                      f"{version(str(options.binary), '--version')}")
    found["options"] = {name: str(value) if isinstance(value, Path) else value
                        for name, value in vars(options).items() if name not in ("binary", "output")}
    text = report.markdown(found, options)
    print(text)
    if options.output:
        options.output.write_text(text)
        options.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        options.output.with_suffix(".svg").write_text(report.svg(found["cost"]))


if __name__ == "__main__":
    main()
