#!/usr/bin/env python3
"""How many instructions a call costs the gateway, held against a budget.

Builds the bench `instructions`, runs each of its scenarios twice under callgrind, with fewer and
with more calls, and divides what the gateway's worker thread executed more by how many calls more
there were. Exits with 1 where a scenario is over its budget.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUDGET = HERE / "budget.toml"
TOLERANCE = 0.02
# Fewer and more calls; what isn't the calls' costs both runs the same.
CALLS = (100, 400)
RUN_SECONDS = 300
BUILD_SECONDS = 1800
# The first to see a call. Only a worker thread executes any of it.
ONLY_WORKERS = re.compile(rb"^c?f[lie]=\(\d+\) .*src/gateway/edge\.rs$", re.MULTILINE)
TOTAL = re.compile(rb"^totals: (\d+)$", re.MULTILINE)


class Invalid(Exception):
    """Nothing can be said of what a call costs."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="only these")
    parser.add_argument("--update", action="store_true",
                        help="make what is counted now the budget, and say what has moved")
    return parser.parse_args()


def output(*command):
    """What a program says; it must succeed."""
    try:
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                              timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise Invalid(f"{command[0]}: {error}") from error


def toolchain():
    """What else than the gateway's source decides how many instructions there are."""
    target = re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]
    return {"rustc": output("rustc", "--version"), "target": target,
            "libc": " ".join(platform.libc_ver()), "valgrind": output("valgrind", "--version")}


def build():
    """The bench's program, built as a release is."""
    command = ["cargo", "bench", "--no-run", "--locked", "--bench", "instructions",
               "--message-format", "json-render-diagnostics"]
    try:
        built = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE,
                               timeout=BUILD_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Invalid(f"the bench can't be built: {error}") from error
    messages = (json.loads(line) for line in built.stdout.splitlines())
    # The gateway's own program is built too.
    return next(Path(message["executable"]) for message in messages
                if message.get("target", {}).get("name") == "instructions")


def profile(program, scenario, calls):
    """The profile of the gateway's worker thread, and how many instructions it executed."""
    # target/release/deps/PROGRAM
    directory = program.parents[2] / "instructions" / f"{scenario}-{calls}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes",
               f"--callgrind-out-file={directory / 'thread'}",
               program, "--scenario", scenario, "--calls", str(calls)]
    try:
        # Variables lie on the stack: with others it would begin elsewhere.
        done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, text=True,
                              capture_output=True, timeout=RUN_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Invalid(f"{scenario}: {error}") from error
    if done.returncode:
        raise Invalid(f"{scenario} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    threads = {path: path.read_bytes() for path in directory.iterdir()}
    workers = [path for path, text in threads.items() if ONLY_WORKERS.search(text)]
    if len(workers) != 1:
        raise Invalid(f"{scenario}: {len(workers)} threads were seen to take calls, not one; "
                      "if the file has another name now, so must ONLY_WORKERS")
    return workers[0], int(TOTAL.search(threads[workers[0]])[1])


def count(program, scenario):
    """Instructions a call, and the profile that tells of which."""
    (_, fewer), (path, more) = (profile(program, scenario, calls) for calls in CALLS)
    return round((more - fewer) / (CALLS[1] - CALLS[0])), path


def write_budget(found, taken_with):
    lines = ["# What a call may cost the gateway: instructions of its worker thread. Written by",
             "# bench/instructions/run.py --update", "", "[taken_with]",
             *(f'{what} = "{which}"' for what, which in taken_with.items()),
             "", "[instructions_a_call]", *(f"{name} = {cost}" for name, cost in found.items())]
    BUDGET.write_text("\n".join(lines) + "\n")


def table(found, budget):
    width = max(map(len, found))
    print(f"{'scenario':{width}}  instructions a call  budget  difference")
    for name, cost in found.items():
        held = budget.get(name)
        difference = f"{cost / held - 1:+10.2%}" if held else f"{'new':>10}"
        print(f"{name:{width}}  {cost:19}  {held or '–':>6}  {difference}")


def judge(found, budget, profiles):
    """Says what is over its budget, or has none; whether anything is."""
    bad = False
    for name, cost in found.items():
        held = budget.get(name)
        if not held:
            bad = True
            print(f"\n{name} has no budget.")
        elif cost > held * (1 + TOLERANCE):
            bad = True
            print(f"\n{name} is over its budget: {cost} instructions a call, {cost - held} "
                  f"({cost / held - 1:+.2%}) more than {held}; {TOLERANCE:.0%} more are allowed.\n"
                  f"  Where they are: callgrind_annotate --inclusive=yes {profiles[name]}")
        elif cost < held * (1 - TOLERANCE):
            print(f"\n{name} is {held - cost} instructions a call ({cost / held - 1:+.2%}) below "
                  "its budget, which can be lowered: bench/instructions/run.py --update")
    if bad:
        print("\nIf a call is meant to cost that much: bench/instructions/run.py --update, and say "
              "in the commit what it is worth.")
    return bad


def main():
    options = arguments()
    if not shutil.which("valgrind"):
        raise Invalid("valgrind is missing: apt-get install valgrind")
    recorded = tomllib.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    budget, before = recorded.get("instructions_a_call", {}), recorded.get("taken_with", {})
    program, now = build(), toolchain()
    names = output(program, "--list").splitlines()
    unknown = set(options.scenarios) - set(names)
    if unknown:
        raise Invalid(f"no scenario: {', '.join(unknown)}; there are {', '.join(names)}")
    names = [name for name in names if name in (options.scenarios or names)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(names, pool.map(lambda name: count(program, name), names)))
    found = {name: cost for name, (cost, _) in counted.items()}
    table(found, budget)
    for what, which in now.items():
        if before.get(what, which) != which:
            print(f"\nThe budget was taken with another {what}: {before[what]}, now {which}.")
    if options.update:
        kept = budget if options.scenarios else {}
        write_budget(kept | found, now)
        print(f"\nwritten: {BUDGET.relative_to(ROOT)}")
        return 0
    return int(judge(found, budget, {name: path for name, (_, path) in counted.items()}))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Invalid as error:
        sys.exit(f"{error}")
