"""parse.py FILE [NAME...]: Prometheus's own OpenMetrics parser reads the file; types and units fit the names, and
the families NAME exist."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

text = open(sys.argv[1], newline="").read()
families = {family.name: family for family in text_string_to_metric_families(text)}
for family in families.values():
    assert family.documentation, family.name
    for unit in "seconds", "bytes":
        # A name ends with its unit, and has the unit that it ends with.
        assert (family.unit == unit) == family.name.endswith("_" + unit), (family.name, family.unit)
    assert family.type in ("gauge", "counter", "info"), family
    for sample in family.samples:
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert sample.name == family.name + suffix, sample
        assert sample.value >= 0, sample
for name in sys.argv[2:]:
    assert families[name].samples, name
counters = {name for name, family in families.items() if family.type == "counter"}
assert {"proclens_cpu_seconds", "container_cpu_usage_seconds"} <= counters, counters
