"""A result as Markdown: medians of the rounds, and ratios taken within each round."""

import statistics

from gateways import TITLES, baseline, title

# Title, loop, threads, size, connections, gateway, compared with, figure, sense, wanted, and what
# is enough. CPU where the figure is a time a call.
TARGETS = [
    ("CPU, legacy → modern to nginx", "closed", 1, "1.1 KB", 32, "legacy-modern", "nginx",
     "cpu_us", "≤", 1.00, None),
    ("CPU, legacy → modern to nginx + Lua", "closed", 1, "1.1 KB", 32, "legacy-modern", "lua",
     "cpu_us", "≤", 0.42, None),
    ("CPU, legacy → modern to nginx + Lua by cjson", "closed", 1, "1.1 KB", 32, "legacy-modern",
     "lua-cjson", "cpu_us", "≤", 0.42, None),
    ("CPU, legacy → modern to nginx", "closed", 1, "100 KB", 32, "legacy-modern", "nginx",
     "cpu_us", "≤", 1.5, 2.0),
    ("CPU, legacy → modern to nginx", "closed", 1, "900 KB", 32, "legacy-modern", "nginx",
     "cpu_us", "≤", 1.2, 1.6),
    ("CPU, modern → modern to nginx", "closed", 1, "1.1 KB", 32, "modern-modern", "nginx-modern",
     "cpu_us", "≤", 1.00, None),
    ("calls/s, legacy → modern to nginx", "closed", 2, "1.1 KB", 32, "legacy-modern", "nginx",
     "calls_per_second", "≥", 1.0, None),
    ("p99 at half load, legacy → modern to nginx", "open", 1, "1.1 KB", 32, "legacy-modern",
     "nginx", "p99_us", "≤", 1.1, None),
    ("p99 at half load, legacy → modern to nginx", "open", 2, "1.1 KB", 32, "legacy-modern",
     "nginx", "p99_us", "≤", 1.1, None),
]


def find_cell(result, loop, threads, size, connections):
    wanted = {"loop": loop, "threads": threads, "size": size, "connections": connections}
    return next((cell for cell in result["cells"] if wanted.items() <= cell.items()), None)


def column(cell, name, key):
    return [rows[name][key] for rows in cell["rounds"] if name in rows]


def median(cell, name, key):
    return statistics.median(column(cell, name, key))


def ratios(cell, name, peer, key):
    """Of each round what this gateway has to a peer; none where either wasn't measured."""
    return [rows[name][key] / rows[peer][key] for rows in cell["rounds"]
            if name in rows and rows.get(peer, {}).get(key)]


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def spread(values, digits=2):
    """Median, quartiles, least and most, as three columns."""
    if not values:
        return "– | – | –"
    low, high = quartiles(values)
    return (f"{statistics.median(values):.{digits}f} | {low:.{digits}f}–{high:.{digits}f} | "
            f"{min(values):.{digits}f}–{max(values):.{digits}f}")


def rounds_title(cell):
    return f"{cell['planned']} round{'s' * (cell['planned'] != 1)}."


def threads_title(count):
    return "1 thread" if count == 1 else f"{count} threads"


def cell_title(cell):
    connections = f"{cell['connections']} connection{'s' * (cell['connections'] != 1)}"
    return f"{cell['loop']} loop, {threads_title(cell['threads'])}, {cell['size']}, {connections}"


def names_of(cell):
    """The gateways of a cell in the order of the tables, not in that of a round."""
    names = list(cell["rounds"][0])
    return [name for name in TITLES if name in names] + [n for n in names if n not in TITLES]


def closed_table(cell):
    lines = ["| gateway | user µs | system µs | CPU µs a call | quartiles | min–max | to nginx "
             "| quartiles | min–max | calls/s | to nginx | p50 µs | p99 µs | p99.9 µs | RSS MiB |",
             "|---|---:|---:|---:|---|---|---:|---|---|---:|---:|---:|---:|---:|---:|"]
    for name in names_of(cell):
        def of(key):
            return median(cell, name, key)
        speed = ratios(cell, name, baseline(name), "calls_per_second")
        lines.append(
            f"| {title(name)} | {of('user_us'):.1f} | {of('system_us'):.1f} | "
            f"{spread(column(cell, name, 'cpu_us'), 1)} | "
            f"{spread(ratios(cell, name, baseline(name), 'cpu_us'))} | "
            f"{of('calls_per_second'):.0f} | {statistics.median(speed) if speed else 0:.2f} | "
            f"{of('p50_us'):.0f} | {of('p99_us'):.0f} | {of('p999_us'):.0f} | "
            f"{of('rss_bytes') / 2**20:.0f} |")
    return "\n".join(lines)


def open_table(cell):
    lines = ["| gateway | calls/s | sustained | CPU µs a call | to nginx | p50 µs | p99 µs "
             "| quartiles | min–max | p99 to nginx | quartiles | min–max | p99.9 µs "
             "| load's own p99 µs | RSS MiB |",
             "|---|---:|---|---:|---:|---:|---:|---|---|---:|---|---|---:|---:|---:|"]
    for name in names_of(cell):
        def of(key):
            return median(cell, name, key)
        cost = ratios(cell, name, baseline(name), "cpu_us")
        sustained = column(cell, name, "sustained")
        said = "yes" if all(sustained) else f"**no**, {sustained.count(False)} of {len(sustained)}"
        lines.append(
            f"| {title(name)} | {of('calls_per_second'):.0f} | {said} | {of('cpu_us'):.1f} | "
            f"{statistics.median(cost) if cost else 0:.2f} | {of('p50_us'):.0f} | "
            f"{spread(column(cell, name, 'p99_us'), 0)} | "
            f"{spread(ratios(cell, name, baseline(name), 'p99_us'))} | {of('p999_us'):.0f} | "
            f"{of('load_late_p99_us'):.0f} | {of('rss_bytes') / 2**20:.0f} |")
    return "\n".join(lines)


def verdict(values, sense, wanted, enough):
    if not values:
        return "not measured"
    found = statistics.median(values)
    if sense == "≥":
        return "met" if found >= wanted else "**missed**"
    if found <= wanted:
        return "met"
    return "the least met" if enough and found <= enough else "**missed**"


def targets(result):
    lines = ["| target | load | wanted | median | quartiles | min–max | |",
             "|---|---|---|---:|---|---|---|"]
    for text, loop, threads, size, connections, name, peer, key, sense, wanted, enough in TARGETS:
        cell = find_cell(result, loop, threads, size, connections)
        values = ratios(cell, name, peer, key) if cell else []
        least = f", at least {enough}" if enough else ""
        lines.append(f"| {text} | {loop}, {threads_title(threads)}, {size} | {sense} {wanted}"
                     f"{least} | {spread(values)} | {verdict(values, sense, wanted, enough)} |")
    return "\n".join(lines)


def readme_table(result):
    """One line a gateway: CPU a call by size, calls a second, and the latency at half load."""
    sizes = list(dict.fromkeys(cell["size"] for cell in result["cells"]))
    lines = ["| | " + " | ".join(f"CPU µs, {size}" for size in sizes) +
             " | calls/s, 1 thread | calls/s, 2 threads | p99 µs at half load |",
             "|---|" + "---:|" * (len(sizes) + 3)]
    cells = [find_cell(result, "closed", 1, size, 32) for size in sizes]
    rest = [(find_cell(result, "closed", 1, sizes[0], 32), "calls_per_second"),
            (find_cell(result, "closed", 2, sizes[0], 32), "calls_per_second"),
            (find_cell(result, "open", 1, sizes[0], 32), "p99_us")]
    names = [name for cell in result["cells"] for name in names_of(cell)]
    for name in dict.fromkeys(names):
        parts = [f"{median(cell, name, 'cpu_us'):.0f} "
                 f"({statistics.median(ratios(cell, name, baseline(name), 'cpu_us')):.2f})"
                 if cell and name in cell["rounds"][0] else "–" for cell in cells]
        parts += [f"{median(cell, name, key):,.0f}" if cell and name in cell["rounds"][0] else "–"
                  for cell, key in rest]
        lines.append(f"| {title(name)} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def syscall_table(traced):
    lines = ["| arguments | gateway | system calls a call | by name |", "|---|---|---:|---|"]
    for size, by_gateway in traced.items():
        for name, counts in by_gateway.items():
            often = sorted(counts.items(), key=lambda item: -item[1])
            by_name = ", ".join(f"{call} {count:.2f}" for call, count in often if count >= 0.005)
            lines.append(f"| {size} | {title(name)} | {sum(counts.values()):.2f} | {by_name} |")
    return "\n".join(lines)


def memory_table(idle):
    names = list(next(iter(idle.values())))
    lines = ["| gateway | " + " | ".join(threads_title(int(count)) for count in idle) + " |",
             "|---|" + "---:|" * len(idle)]
    for name in names:
        parts = [f"{each[name] / 2**20:.1f}" for each in idle.values()]
        lines.append(f"| {title(name)} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def markdown(result):
    parts = ["# What a call costs, beside other gateways", "    bench/compare/run.py",
             f"A round measures each gateway in turn: a closed loop by wrk for "
             f"{result['seconds']} s (900 KB: twice as long), an open one for "
             f"{result['open_seconds']} s, after a warm-up. Medians of the rounds; ratios are to the nginx that passes the same bytes, "
             "taken within each round. What is measured, and its limits: "
             "[bench/README.md](../README.md).",
             "![CPU time a call](compare.svg)", "## Targets", targets(result)]
    for cell in result["cells"]:
        text = cell_title(cell)
        parts.append(f"## {text[0].upper()}{text[1:]}")
        if cell["loop"] == "open":
            parts.append(f"{cell['asked_per_second']:.0f} calls a second asked of all: half of "
                         f"nginx's in the closed loop. {rounds_title(cell)}")
            if not all(row["load_goes_first"] for rows in cell["rounds"] for row in rows.values()):
                parts.append("The load had no priority: what it waited for a CPU counts.")
            parts.append(open_table(cell))
        else:
            parts.append(rounds_title(cell))
            parts.append(closed_table(cell))
    parts += ["## Resident memory when started, MiB", memory_table(result["idle_rss"])]
    if result["syscalls"]:
        parts += ["## System calls, under strace", "32 connections.",
                  syscall_table(result["syscalls"])]
    sent = ", ".join(f"{name}: {count:,}" for name, count in result["bytes"].items())
    parts += ["## Where it was measured", f"Bytes of the bodies: {sent}.",
              f"{result['machine']}; {'; '.join(result['versions'])}."]
    return "\n\n".join(parts) + "\n"
