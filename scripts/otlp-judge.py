"""Receives OTLP until metrics and a trace have come, and judges them by the messages of opentelemetry-proto.

    otlp-judge.py PORT TRACE METRICS_URL
"""

import re
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE as CUMULATIVE

MESSAGES = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}
received = {path: [] for path in MESSAGES}
came = threading.Condition()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        request = MESSAGES[self.path].FromString(self.rfile.read(int(self.headers["content-length"])))
        with came:
            received[self.path].append(request)
            came.notify_all()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def unknown(message):
    """Fields that OTLP does not have, of a message and of those in it."""
    found = [(message.DESCRIPTOR.name, field.field_number) for field in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                found += unknown(one)
    return found


def judge_metric(metric):
    """What is wrong with a metric; how many points it has."""
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points
    if kind != "gauge":
        assert getattr(metric, kind).aggregation_temporality == CUMULATIVE, metric.name
        assert all(0 < point.start_time_unix_nano < point.time_unix_nano for point in points), metric.name
    if kind == "sum":
        assert metric.sum.is_monotonic and metric.name.endswith("_total"), metric.name
    if kind == "histogram":
        for point in points:
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric.name
            assert sum(point.bucket_counts) == point.count, metric.name
    return len(points)


def spans_of(trace):
    groups = [scope for request in received["/v1/traces"] for of in request.resource_spans for scope in of.scope_spans]
    return [span for group in groups for span in group.spans if span.trace_id.hex() == trace]


def main(port, trace, metrics_url):
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with came:
        done = lambda: received["/v1/metrics"] and {span.name for span in spans_of(trace)} >= {"store commit"}
        assert came.wait_for(lambda: done() and any(span.kind == 2 for span in spans_of(trace)), timeout=60), received

    for request in received["/v1/metrics"] + received["/v1/traces"]:
        assert unknown(request) == [], unknown(request)
    of = received["/v1/metrics"][-1].resource_metrics[0]
    resource = {attribute.key: attribute.value.string_value for attribute in of.resource.attributes}
    assert resource["service.name"] == "omnirelayd" and resource["service.instance.id"], resource
    metrics = {metric.name: metric for metric in of.scope_metrics[0].metrics}
    points = sum(judge_metric(metric) for metric in metrics.values())
    scraped = urllib.request.urlopen(metrics_url).read().decode()
    named = set(re.findall(r"^# TYPE (\w+)", scraped, re.MULTILINE))
    assert named == set(metrics), named ^ set(metrics)

    spans = spans_of(trace)
    [call] = [span for span in spans if span.kind == 2]
    assert call.parent_span_id.hex() == "00f067aa0ba902b7" and call.name.endswith("/Cordon"), call
    assert all(span.parent_span_id == call.span_id for span in spans if span is not call), spans
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans), spans
    print(f"otlp: opentelemetry-proto took {len(metrics)} metrics with {points} points, the same as are scraped, of {resource}")
    for span in spans:
        attributes = {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in span.attributes}
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        print(f"otlp: span {span.name}, kind {span.kind}, {took:.2f} ms, {attributes}")


main(*sys.argv[1:])
