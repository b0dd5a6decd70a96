"""Reads dashboards into Grafana's model, writes them again, and names what is not there any more, or is another."""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

# Keys of annotations that the data source for Prometheus reads, and the model does not know.
OF_PROMETHEUS = {"tagKeys", "textFormat", "titleFormat"}


def lost(before, after, path):
    """Yields what of `before` is not in `after`; defaults that were added are none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{path}.{key}")
            elif not (".annotations." in path and key in OF_PROMETHEUS):
                yield f"{path}.{key}: not known to Grafana"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, pair in enumerate(zip(before, after)):
            yield from lost(*pair, f"{path}[{at}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


def unknown_units(dashboard, path):
    """Yields units that Grafana would show as a word behind the number."""
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in dashboard["panels"]:
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if unit is not None and unit not in known:
            yield f"{path}: {panel['title']}: no unit {unit}"


plugins.register_default_plugins()
findings = []
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        given = json.load(file)
    written = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(given)))
    findings += lost(given, written, name)
    findings += unknown_units(given, name)
print("\n".join(findings) or f"dashboards: {len(sys.argv) - 1} are as Grafana has them")
sys.exit(bool(findings))
