#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Merges Google Benchmark's JSON reports into one and prints them as a Markdown table.

Usage: merge_benchmarks.py OUTPUT REPORT...

The context is the first report's; each benchmark gets the name of its program. The column per_signal is the
time over one SIGILL round trip of the same run, where a benchmark gives it.
"""

import json
import pathlib
import sys

UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def load(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    program = pathlib.Path(report["context"].get("executable", path)).name
    for benchmark in report["benchmarks"]:
        benchmark["program"] = program
    return report


def nanoseconds(benchmark):
    return benchmark["real_time"] * UNITS[benchmark.get("time_unit", "ns")]


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(benchmarks):
    rows = [("benchmark", "time (ns)", "per_signal", "throughput (MB/s)")]
    for benchmark in benchmarks:
        if benchmark.get("error_occurred"):
            rows.append((benchmark["name"], "failed: " + benchmark.get("error_message", "?"), "", ""))
            continue
        ratio = benchmark.get("per_signal")
        throughput = benchmark.get("bytes_per_second")
        rows.append((benchmark["name"], number(nanoseconds(benchmark)), f"{ratio:.2f}" if ratio is not None else "",
                     number(throughput / 1e6) if throughput is not None else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    def line(row):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
    return [line(rows[0]), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows[1:])]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    reports = [load(path) for path in sys.argv[2:]]
    merged = {"context": reports[0]["context"], "benchmarks": [b for report in reports for b in report["benchmarks"]]}
    merged["context"].pop("executable", None)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(merged, file, indent=2)
        file.write("\n")
    print("\n".join(table(merged["benchmarks"])))
    print(f"\nwritten: {sys.argv[1]}", file=sys.stderr)
    return 1 if any(benchmark.get("error_occurred") for benchmark in merged["benchmarks"]) else 0


if __name__ == "__main__":
    sys.exit(main())
