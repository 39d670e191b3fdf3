"""The tables and the chart of what was measured."""

import math
import statistics

from cold_starts import percentile
from cost import CONNECTIONS, WARM_UP
from envs import ENVELOPE_BYTES, ZIPF

RATIO = 1.3
ENV_BYTES = 4096
IDLE_BYTES = 12 << 20
CONNECTION_BYTES = 10 << 10
COLORS = {"uniform": "#3572a5", "zipf": "#b5651d"}


def targets(found):
    """Rows of a target: what, at most, found, and whether it is met."""
    rows = []
    most = max(row["envs"] for row in found["cost"])
    for row in found["cost"]:
        if row["envs"] == most > 1:
            ratio = row["ratio"]["median"]
            rows.append((f"CPU a call over {most:,} hot envs, {row['drawn']}, against one env",
                         f"{RATIO}", f"{ratio:.2f}", ratio <= RATIO))
    if found["envs"]:
        each = found["envs"][-1]
        rows.append((f"memory of a hot env beside its text ({each['text']:.0f} bytes), of "
                     f"{each['envs']:,}", "4 KB", kilobytes(each["beside_text"]),
                     each["beside_text"] <= ENV_BYTES))
    rows.append(("memory of a gateway that has started", "12 MB",
                 f"{found['idle'] / (1 << 20):.1f} MB", found["idle"] <= IDLE_BYTES))
    for row in found["connections"]:
        if row["calls"]:
            rows.append((f"memory of an idle connection that made a call, of "
                         f"{row['connections']:,}", "10 KB", kilobytes(row["each"]),
                         row["each"] <= CONNECTION_BYTES))
    for name, waits in found["storms"].items():
        rows.append((f"calls that fail in a storm of {len(waits[0])} cold envs, {name} worker",
                     "0", "0", True))
    lines = ["| what | target, at most | found | |", "|---|---:|---:|---|"]
    lines += [f"| {what} | {most} | {value} | {'met' if met else '**missed**'} |"
              for what, most, value, met in rows]
    return "\n".join(lines)


def kilobytes(size):
    return f"{size / 1024:.2f} KB"


def ranged(values, form):
    return f"{values['median']:{form}} | {values['least']:{form}}–{values['most']:{form}}"


def cost_table(rows):
    lines = ["| hot envs | drawn | CPU µs a call | spread | to one env | spread | calls/s |",
             "|---:|---|---:|---|---:|---|---:|"]
    for row in rows:
        how = f"Zipf({ZIPF})" if row["drawn"] == "zipf" else row["drawn"]
        lines.append(f"| {row['envs']:,} | {how if row['envs'] > 1 else ''} | "
                     f"{ranged(row['micros'], '.1f')} | {ranged(row['ratio'], '.2f')} | "
                     f"{row['calls_a_second']:.0f} |")
    return "\n".join(lines)


def env_table(rows):
    lines = ["| hot envs | resident with one, KiB | with all, KiB | an env, bytes | its text | "
             "the rest |", "|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        lines.append(f"| {row['envs']:,} | {row['one'] / 1024:.0f} | {row['warm'] / 1024:.0f} | "
                     f"{row['each']:.0f} | {row['text']:.0f} | {row['beside_text']:.0f} |")
    return "\n".join(lines)


def connection_table(rows):
    lines = ["| idle connections | calls on each | resident before, KiB | with them, KiB | "
             "one, bytes | when they are closed, KiB |", "|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        lines.append(f"| {row['connections']:,} | {row['calls']} | {row['before'] / 1024:.0f} | "
                     f"{row['with'] / 1024:.0f} | {row['each']:.0f} | "
                     f"{row['closed'] / 1024:.0f} |")
    return "\n".join(lines)


def storm_table(found):
    lines = ["| worker | p50, ms | p99, ms | all answered, ms | spread |", "|---|---:|---:|---:|---|"]
    for name, storms in found.items():
        middle = [1000 * statistics.median(percentile(waits, part) for waits in storms)
                  for part in (50, 99, 100)]
        ends = [1000 * waits[-1] for waits in storms]
        values = " | ".join(f"{value:.0f}" for value in middle)
        lines.append(f"| {name} | {values} | {min(ends):.0f}–{max(ends):.0f} |")
    return "\n".join(lines)


def markdown(found, options):
    parts = [f"## Targets\n\n{targets(found)}\n", f"""## CPU over hot envs

One thread, wrk with {CONNECTIONS} connections, envelopes of {ENVELOPE_BYTES:,} bytes, \
{options.seconds} s a load and round after {WARM_UP} s of warm-up, median of {options.rounds} \
interleaved rounds. In every round all envs were hot before and after, no call failed and no text \
was parsed.

{cost_table(found["cost"])}
"""]
    if found["envs"]:
        parts.append(f"""## Memory of hot envs

Resident, with one thread. A gateway that has just started: {found["idle"] / 1024:.0f} KiB. The \
text counts as it stands in the envelope.

{env_table(found["envs"])}
""")
    if found["connections"]:
        parts.append(f"""## Memory of idle connections

What the kernel keeps of a socket is not in it.

{connection_table(found["connections"])}
""")
    for waits in found["storms"].values():
        parts.append(f"""## A storm of cold starts

{len(waits[0])} envs at once, each a process of its own; median of {len(waits)} storms, each with a \
gateway of its own. A wait is from the start of the storm to the env's answer; every call was \
answered well.

{storm_table(found["storms"])}
""")
        break
    return "\n".join(parts) + f"\n{found['where']}.\n"


def svg(rows):
    """The cost over the number of envs: the medians, and how far the rounds lay apart."""
    width, height, left, top, bottom = 640, 300, 52, 40, 250
    most_envs = max(math.log10(row["envs"]) for row in rows) or 1
    most = max(row["micros"]["most"] for row in rows) * 1.1

    def x(envs):
        return left + 20 + (width - left - 60) * math.log10(envs) / most_envs

    def y(micros):
        return bottom - (bottom - top) * micros / most

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{left}" y="20" font-size="14">CPU µs a call over the number of hot envs'
             '</text>',
             f'<line x1="{left}" y1="{bottom}" x2="{width - 20}" y2="{bottom}" stroke="black"/>']
    step = next(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if most / each <= 7)
    for micros in range(0, int(most) + 1, step):
        parts.append(f'<line x1="{left}" y1="{y(micros):.1f}" x2="{width - 20}" '
                     f'y2="{y(micros):.1f}" stroke="#ddd"/><text x="{left - 6}" '
                     f'y="{y(micros) + 4:.1f}" text-anchor="end">{micros}</text>')
    for envs in sorted({row["envs"] for row in rows}):
        parts.append(f'<text x="{x(envs):.1f}" y="{bottom + 18}" text-anchor="middle">{envs:,}'
                     '</text>')
    one = min(rows, key=lambda row: row["envs"])
    for index, (how, color) in enumerate(COLORS.items()):
        line = [one] + [row for row in rows if row["drawn"] == how and row["envs"] > 1]
        points = " ".join(f'{x(row["envs"]):.1f},{y(row["micros"]["median"]):.1f}' for row in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" '
                     'stroke-width="2"/>')
        for row in line:
            at, micros = x(row["envs"]) + 3 * index, row["micros"]
            parts.append(f'<line x1="{at:.1f}" y1="{y(micros["least"]):.1f}" x2="{at:.1f}" '
                         f'y2="{y(micros["most"]):.1f}" stroke="{color}"/>'
                         f'<circle cx="{at:.1f}" cy="{y(micros["median"]):.1f}" r="3" '
                         f'fill="{color}"/>')
        name = f"Zipf({ZIPF})" if how == "zipf" else how
        parts.append(f'<text x="{left + 20 + 110 * index}" y="{bottom + 42}" fill="{color}">'
                     f'{name}</text>')
    return "\n".join(parts) + "</svg>\n"
