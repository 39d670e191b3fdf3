"""CPU time a call, by gateway and size of call, as an SVG that is readable in light and dark."""

from report import column, find_cell, median, names_of, quartiles, title

WIDTH, LEFT, RIGHT, BAR, STEP, HEAD = 720, 230, 70, 16, 24, 34
# Longer bars than so many times nginx's are cut, so that the others can be told apart.
CUT = 4
STYLE = """
.back { fill: #ffffff; }
text { font-family: sans-serif; font-size: 12px; fill: #24292f; }
.head { font-size: 14px; font-weight: bold; }
.peer { fill: #8b949e; } .own { fill: #3572a5; }
.base { stroke: #57606a; stroke-dasharray: 3 3; }
.box, .line { stroke: #24292f; stroke-width: 1; } .box { stroke-width: 4; }
@media (prefers-color-scheme: dark) {
  .back { fill: #0d1117; }
  text { fill: #e6edf3; } .peer { fill: #6e7681; } .own { fill: #58a6ff; }
  .base { stroke: #8b949e; } .box, .line { stroke: #e6edf3; }
}
"""


def is_peer(name):
    return not title(name).startswith("envgate")


def bars(cell, top):
    """A bar a gateway: its length the median, the thin line least to most, the thick one the
    quartiles. The dashed line goes down from nginx's."""
    names = names_of(cell)
    longest = min(max(max(column(cell, name, "cpu_us")) for name in names),
                  CUT * median(cell, "nginx", "cpu_us"))
    scale = (WIDTH - LEFT - RIGHT) / longest
    base = LEFT + median(cell, "nginx", "cpu_us") * scale
    parts = [f'<line class="base" x1="{base:.1f}" y1="{top}" x2="{base:.1f}" '
             f'y2="{top + len(names) * STEP - 6}"/>']
    for index, name in enumerate(names):
        y = top + index * STEP
        values = [min(value, longest) for value in column(cell, name, "cpu_us")]
        low, high = quartiles(values)
        found = median(cell, name, "cpu_us")
        length = min(found, longest) * scale
        middle = y + BAR / 2
        cut = "…" if found > longest else ""

        def line(kind, least, most, middle=middle):
            return (f'<line class="{kind}" x1="{LEFT + least * scale:.1f}" y1="{middle}" '
                    f'x2="{LEFT + most * scale:.1f}" y2="{middle}"/>')
        parts += [
            f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{title(name)}</text>',
            f'<rect class="{"peer" if is_peer(name) else "own"}" x="{LEFT}" y="{y}" '
            f'width="{length:.1f}" height="{BAR}"/>',
            line("line", min(values), max(values)), line("box", low, high),
            f'<text x="{LEFT + max(values) * scale + 6:.1f}" y="{middle + 4}">'
            f'{cut}{found:.1f}</text>']
    return parts, top + len(names) * STEP


def chart(result):
    """The picture of the cells of one thread and 32 connections; None where there are none."""
    sizes = dict.fromkeys(cell["size"] for cell in result["cells"])
    cells = [cell for size in sizes if (cell := find_cell(result, "closed", 1, size, 32))]
    if not cells:
        return None
    parts, top = [], HEAD
    for cell in cells:
        parts.append(f'<text class="head" x="{LEFT}" y="{top}">{cell["size"]}: '
                     'CPU µs a call</text>')
        drawn, top = bars(cell, top + 10)
        parts += drawn
        top += 30
    notes = ("Closed loop, 32 connections, 1 thread: median of the rounds, quartiles (thick), "
             "least to most (thin).", f"Dashed: nginx, passing. Bars over {CUT} times that are cut (…).")
    for note in notes:
        parts.append(f'<text x="12" y="{top - 4}">{note}</text>')
        top += 18
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 10}" '
            f'role="img" aria-label="CPU time a call">', f"<style>{STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{top + 10}"/>']
    return "\n".join([*head, *parts, "</svg>"]) + "\n"
