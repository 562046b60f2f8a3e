"""Tables as text and as Markdown, and the machine's name."""

import os
import platform
from pathlib import Path


def text(title, header, rows):
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows)]
    lines = [[row[0].ljust(widths[0]), *right(row, widths)] for row in [header, *rows]]
    return "\n".join([title, *("  ".join(line).rstrip() for line in lines)])


def right(row, widths):
    return [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]


def markdown(title, header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    return "\n".join([f"{title}:", "", *lines])


def machine():
    """CPU, cores and operating system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
