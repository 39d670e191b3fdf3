"""What a call costs in CPU over many hot envs."""

import statistics
import subprocess
import sys
import time

from envs import CALL_BYTES, Gateway, calls, draws, settle
from processes import cpu_seconds, resident

CONNECTIONS = 32
WARM_UP = 1
SLACK = 1  # seconds that the load goes on behind the measurement
DISTRIBUTIONS = ("uniform", "zipf")
LOAD_SECONDS = 30  # until wrk has its calls
WRK_SCRIPT = """
local ffi = require("ffi")
local requests, draws, count, at = {{}}, nil, 0, 0

function init()
  local file = io.open("{calls}", "rb")
  while true do
    local call = file:read({size})
    if not call then break end
    requests[#requests + 1] = call
  end
  file:close()
  local drawn = io.open("{draws}", "rb"):read("*a")
  count = #drawn / 4
  draws = ffi.new("uint32_t[?]", count)
  ffi.copy(draws, drawn, #drawn)
end

function request()
  at = (at + 1) % count
  return requests[draws[at] + 1]
end
"""


class Hot:
    """A gateway with so many hot envs, and the loads for it."""

    def __init__(self, servers, options, upstream, envs):
        self.envs = envs
        path = calls(servers, envs)
        settings = {"env.max_hot": max(envs, 16384)}
        self.gateway = Gateway(servers, options.binary, upstream, settings)
        settle()
        self.idle = resident(self.gateway.pid)
        # One env alone: what every call needs, and no env of its own, is there then.
        first = calls(servers, 1)
        for _ in range(64):
            self.gateway.warm(first)
        settle()
        self.one = resident(self.gateway.pid)
        self.gateway.warm(path)
        settle()
        self.warm = resident(self.gateway.pid)
        self.gateway.check_hot(envs)
        self.scripts = {}
        for how in DISTRIBUTIONS if envs > 1 else DISTRIBUTIONS[:1]:
            script = WRK_SCRIPT.format(calls=path, size=CALL_BYTES,
                                       draws=draws(servers, envs, how))
            self.scripts[how] = servers.file(f"wrk-{envs}-{how}.lua", script)

    def measure(self, how, seconds):
        """Microseconds of CPU a call, and calls a second."""
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{WARM_UP + seconds + SLACK}s",
                   "-s", self.scripts[how], f"http://127.0.0.1:{self.gateway.port}/"]
        begin = self.gateway.check_hot(self.envs)
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + LOAD_SECONDS
            while self.gateway.metrics()["ok"] == begin["ok"]:
                if load.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("wrk doesn't call")
                time.sleep(0.1)
            time.sleep(WARM_UP)
            before, used, began = self.snapshot()
            time.sleep(seconds)
            after, used_after, ended = self.snapshot()
            said = load.communicate(timeout=WARM_UP + seconds + SLACK + 30)[0]
        finally:
            load.kill()
            load.wait()
        if load.returncode or "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"wrk ended with {load.returncode}: {said}")
        self.gateway.check_hot(self.envs, begin)
        answered = after["ok"] - before["ok"]
        if after["env_lookup_hits"] - before["env_lookup_hits"] < answered - CONNECTIONS:
            raise RuntimeError(f"not each call found its env's text: {before}, later {after}")
        return 1e6 * (used_after - used) / answered, answered / (ended - began)

    def snapshot(self):
        """Its counters, its CPU time, and when that was."""
        return self.gateway.metrics(), sum(cpu_seconds(self.gateway.pid)), time.monotonic()


def start(servers, options, upstream):
    """A warm gateway for each number of envs, the least first."""
    found = []
    for envs in options.envs:
        found.append(Hot(servers, options, upstream, envs))
        hot = found[-1]
        print(f"{envs} envs are hot: {hot.warm / 1024:.0f} KiB resident, {hot.one / 1024:.0f} "
              "with one", file=sys.stderr)
    return found


def rounds(hots, options):
    """Rows by envs and distribution, one a round."""
    found = {}
    for number in range(options.rounds):
        # Every other round the other way round, so that a machine that grows slower favours none.
        order = [(hot, how) for hot in hots for how in hot.scripts]
        for hot, how in order if number % 2 == 0 else reversed(order):
            row = hot.measure(how, options.seconds)
            found.setdefault((hot.envs, how), []).append(row)
            print(f"round {number + 1}, {hot.envs} envs, {how}: {row[0]:.2f} µs, {row[1]:.0f}/s",
                  file=sys.stderr)
    return found


def summary(found):
    """Of each number of envs and distribution: the median, least and most µs a call, the calls a
    second, and the median, least and most of the ratios to one env of the same round."""
    least = min(found)
    one = [row[0] for row in found[least]]
    rows = []
    for (envs, how), measured in sorted(found.items()):
        costs = [row[0] for row in measured]
        ratios = [cost / base for cost, base in zip(costs, one)]
        rows.append({
            "envs": envs, "drawn": how, "micros": spread(costs), "ratio": spread(ratios),
            "calls_a_second": statistics.median(row[1] for row in measured),
        })
    return rows


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}
