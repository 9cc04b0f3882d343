# SPDX-License-Identifier: Apache-2.0
"""Reads Chrome trace events (the JSON array format) and holds them to what Perfetto's importer wants of them.

Perfetto sorts by time, keeps one track for each pid and tid, and shows "B", "E" and "X" on it only if they nest;
an "E" closes the innermost slice, "i" with scope "t" is a slice without length. The closing bracket may be missing.
"""

import json

PHASES = {"B", "E", "X", "i", "M"}


def load(text):
    """The elements of the array, whether it is closed or not."""
    text = text.rstrip()
    return json.loads(text if text.endswith("]") else text + "]")


def _integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def check_element(event):
    """Raises AssertionError unless Perfetto would take the element."""
    assert isinstance(event, dict), event
    phase = event.get("ph")
    assert phase in PHASES, event
    assert _integer(event.get("pid")) and event["pid"] > 0, event
    assert _integer(event.get("tid")) and event["tid"] > 0, event
    assert isinstance(event.get("args"), dict), event
    assert phase == "E" or (isinstance(event.get("name"), str) and event["name"]), event
    if phase == "M":
        assert event["name"] in ("process_name", "process_labels", "thread_name"), event
        assert all(isinstance(value, str) and value for value in event["args"].values()), event
        return
    assert isinstance(event.get("ts"), (int, float)) and event["ts"] > 0, event
    assert phase == "E" or (isinstance(event.get("cat"), str) and event["cat"]), event
    assert phase != "X" or (isinstance(event.get("dur"), (int, float)) and event["dur"] >= 0), event
    assert phase != "i" or event.get("s") == "t", event


def _nanoseconds(value):
    return round(value * 1000)


def check(events):
    """Raises AssertionError if an element is bad or slices of one track overlap without nesting. Returns, by
    (pid, tid), the names of the slices that are open at the end."""
    tracks = {}
    timed = []
    for event in events:
        check_element(event)
        if event["ph"] != "M":
            timed.append(event)
    timed.sort(key=lambda event: _nanoseconds(event["ts"]))  # stable, as Perfetto's
    for event in timed:
        start = _nanoseconds(event["ts"])
        stack = tracks.setdefault((event["pid"], event["tid"]), [])
        while stack and stack[-1][1] is not None and stack[-1][1] <= start and event["ph"] != "E":
            stack.pop()
        if event["ph"] == "B":
            stack.append((event["name"], None))
        elif event["ph"] == "X":
            end = start + _nanoseconds(event["dur"])
            outer = min((frame[1] for frame in stack if frame[1] is not None), default=None)
            assert outer is None or end <= outer, f"{event} outlasts what is around it"
            stack.append((event["name"], end))
        elif event["ph"] == "E":
            while stack and stack[-1][1] is not None:
                assert stack[-1][1] <= start, f"{event} closes a slice that is not over: {stack[-1]}"
                stack.pop()
            assert stack, f"{event} closes nothing"
            stack.pop()
    left = {track: [name for name, end in stack if end is None] for track, stack in tracks.items()}
    return {track: names for track, names in left.items() if names}
