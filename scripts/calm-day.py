"""Recorded series repeated over a day, and the alerts that they would have had pending.

  calm-day.py repeat SAMPLES RULES [METRIC]    the day as OpenMetrics; a METRIC is raised in its middle
  calm-day.py range DAY                        its first and its last second
  calm-day.py judge URL RULES BEGIN END        the alerts that are active at any moment; ends with 1 where there are any
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

DAY = 24 * 3600
STEP = 15
# The alert that always fires.
ALWAYS = "Watchdog"
COUNTED = ("_total", "_count", "_sum", "_bucket")


def rules(folder):
    """The alerts of a folder: their names and expressions; and all words in them."""
    found, words = [], set()
    for file in sorted(pathlib.Path(folder).glob("*.yaml")):
        text = file.read_text()
        words |= set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text))
        for block in re.split(r"\n      - ", text)[1:]:
            name = re.match(r"alert: (\w+)", block)
            if not name:
                continue
            folded = re.search(r"expr: [>|]-?\n((?:          .*\n)+)", block)
            line = re.search(r"expr: ([^>|\n].*)\n", block)
            expression = " ".join(folded[1].split()) if folded else line[1].strip().strip("'")
            found.append((name[1], expression))
    return found, words


def read(path, words):
    """Series of a dump that rules name: by name and labels their points, seconds and values."""
    series = {}
    for line in open(path, encoding="utf-8"):
        end = line.rfind("} ")
        labels = line[1:end]
        name = re.search(r'__name__="([^"]*)"', labels)
        if not name or name[1] not in words:
            continue
        rest = re.sub(r'(, )?__name__="[^"]*"(, )?', lambda found: ", " if found[1] and found[2] else "", labels)
        value, at = line[end + 2 :].split()
        # The format takes no blank between labels.
        rest = re.sub(r'", (?=[a-zA-Z_])', '",', rest)
        series.setdefault((name[1], rest), []).append((int(at) / 1000, float(value)))
    return series


def repeat(samples, folder, raised=None):
    _, words = rules(folder)
    series = read(samples, words)
    times = [at for points in series.values() for at, _ in points]
    first, length = min(times), max(times) - min(times) + STEP
    turns = int(DAY // length)
    begin = int(time.time()) - DAY - 3600
    previous = None
    for (name, labels), points in sorted(series.items()):
        if name != previous:
            print(f"# TYPE {name} unknown")
            previous = name
        points.sort()
        grown = points[-1][1] - points[0][1] if name.endswith(COUNTED) else 0
        for turn in range(turns):
            more = grown * turn + (1e6 if name == raised and turn > turns // 2 else 0)
            for at, value in points:
                print(f"{name}{{{labels}}} {value + more!r} {begin + turn * length + at - first:.3f}")
    print("# EOF")
    print(f"calm day: {len(series)} series, {turns} times {length:.0f} s", file=sys.stderr)


def span(day):
    times = [float(line.rsplit(" ", 1)[1]) for line in open(day, encoding="utf-8") if not line.startswith("#")]
    print(int(min(times)) + 300, int(max(times)))


def judge(url, folder, begin, end):
    found, _ = rules(folder)
    active = []
    for name, expression in found:
        form = urllib.parse.urlencode({"query": expression, "start": begin, "end": end, "step": STEP}).encode()
        answer = json.load(urllib.request.urlopen(f"{url}/api/v1/query_range", form))
        points = sum(len(one["values"]) for one in answer["data"]["result"])
        if name == ALWAYS and points == 0:
            sys.exit("calm day: the watchdog does not fire, so that nothing was looked at")
        if name != ALWAYS and points:
            active.append(f"{name}: active at {points} of {(int(end) - int(begin)) // STEP} moments")
    print("\n".join(active) or f"calm day: none of {len(found) - 1} alerts was active in {(int(end) - int(begin)) / 3600:.1f} h")
    sys.exit(1 if active else 0)


if __name__ == "__main__":
    {"repeat": repeat, "range": span, "judge": judge}[sys.argv[1]](*sys.argv[2:])
