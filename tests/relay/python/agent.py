"""An agent of Aero Arc on the Python implementation of gRPC: v0.1.0 as it was released, or a newer one.

What it has captured it keeps until a relay has acknowledged it, and sends it again and again until then. It ends when
all is acknowledged, and says on standard output what was: one JSON document.
"""

import argparse
import collections
import hashlib
import json
import queue
import signal
import sys
import threading
import time
import uuid

import grpc

BURST = 1000
# How much may be undelivered when more is captured.
LEFT_MAX = 3 * BURST


class Log:
    """What was captured, by its number: new, sent, or delivered."""

    def __init__(self, resend_after_s):
        self.lock = threading.Condition()
        self.resend_after_s = resend_after_s
        self.new = collections.deque()
        self.sent = collections.OrderedDict()
        self.delivered = set()
        self.last = 0
        self.capturing = True
        # When something was delivered last.
        self.delivered_at = time.monotonic()

    def capture(self, count):
        with self.lock:
            self.new.extend(range(self.last + 1, self.last + count + 1))
            self.last += count
            self.lock.notify_all()

    def batch(self, closed):
        """Up to a burst of numbers to send on a stream; none when there is nothing for a while."""
        with self.lock:
            if not self.new:
                self.lock.wait(0.05)
            if closed.is_set():
                return []
            late = time.monotonic() - self.resend_after_s
            due = [seq for seq, sent_at in self.sent.items() if sent_at < late]
            for seq in due:
                del self.sent[seq]
            self.new.extendleft(reversed(due))
            count = min(BURST, len(self.new))
            return [self.new.popleft() for _ in range(count)]

    def close(self, closed):
        """What was on its way on a stream that has ended is sent again on the next, which comes at once."""
        with self.lock:
            closed.set()
            self.sent.clear()
            left = (seq for seq in range(1, self.last + 1) if seq not in self.delivered)
            self.new = collections.deque(left)

    def was_sent(self, numbers):
        """Marks them after they were sent. One whose acknowledgement was faster is sent again later."""
        with self.lock:
            for seq in numbers:
                self.sent[seq] = time.monotonic()

    def acknowledged(self, seq):
        with self.lock:
            if seq not in self.delivered:
                self.delivered.add(seq)
                self.delivered_at = time.monotonic()
            self.sent.pop(seq, None)

    def refused(self, seq):
        with self.lock:
            self.sent.pop(seq, None)
            self.new.append(seq)

    def is_done(self):
        with self.lock:
            return not self.capturing and len(self.delivered) == self.last

    def left(self):
        with self.lock:
            return self.last - len(self.delivered)


class Legacy:
    """Agent v0.1.0: bare frames without a session, and any acknowledgement is a success."""

    def __init__(self):
        import agent_gateway_pb2 as pb
        import agent_gateway_pb2_grpc as rpc

        self.pb, self.rpc = pb, rpc

    def frame(self, agent_id, seq):
        message = {"Type": 2, "Autopilot": 3, "BaseMode": 81, "CustomMode": 4, "SystemStatus": 4}
        return self.pb.TelemetryFrame(
            agent_id=agent_id,
            seq=seq,
            sent_at_unix_ns=time.time_ns(),
            raw_mavlink=json.dumps(message, separators=(",", ":")).encode(),
            dialect="common",
            msg_id=0,
            msg_name="*minimal.MessageHeartbeat",
            fields={name: str(value) for name, value in message.items()},
        )

    def message(self, agent_id, _session_id, seq):
        return self.frame(agent_id, seq)

    def heard(self, message, log, report, _answer):
        report["statuses"][message.status] += 1
        log.acknowledged(message.seq)


class Envelope(Legacy):
    """A newer agent: frames in an envelope, with its session, and it does as it is told."""

    def __init__(self):
        from aeroarc.agent.v1 import agent_pb2 as pb
        from aeroarc.agent.v1 import agent_pb2_grpc as rpc

        self.pb, self.rpc = pb, rpc

    def message(self, agent_id, session_id, seq):
        frame = self.frame(agent_id, seq)
        frame.session_id = session_id
        frame.device_timestamp_sec = time.monotonic()
        return self.pb.AgentStreamMessage(telemetry_frame=frame)

    def heard(self, message, log, report, answer):
        kind = message.WhichOneof("payload")
        if kind == "telemetry_ack":
            ack = message.telemetry_ack
            report["statuses"][ack.status] += 1
            log.acknowledged(ack.seq) if ack.status == 0 else log.refused(ack.seq)
            return
        command = getattr(message, kind)
        report["commands"].append(command.command_id)
        context = command.context if kind == "set_operation_context" else None
        ack = self.pb.OperationContextCommandAck(command_id=command.command_id, status=1, active_context=context)
        answer.put(self.pb.AgentStreamMessage(operation_context_command_ack=ack))


class Agent:
    def __init__(self, options, shape):
        self.options, self.shape = options, shape
        # As v0.1.0 makes it of what it keeps in its file.
        self.id = hashlib.sha256(str(uuid.UUID(options.identity)).encode()).hexdigest()
        self.metadata = (("authorization", "Bearer "), ("aero-arc-agent-id", self.id))
        self.log = Log(options.resend_after)
        statuses = collections.Counter()
        self.report = {"agent_id": self.id, "registered": 0, "streams": 0, "statuses": statuses, "commands": []}
        self.failures = collections.Counter()
        self.over, self.landed = threading.Event(), threading.Event()
        self.lands_at = time.monotonic() + options.seconds

    def is_over(self):
        """Whether all is delivered, or nothing was for so long that nothing will be."""
        gives_up_at = max(self.lands_at, self.log.delivered_at) + self.options.patience
        return self.log.is_done() or time.monotonic() >= gives_up_at

    def run(self):
        threading.Thread(target=self.capture, daemon=True).start()
        backoff = self.options.backoff_initial
        servers = collections.deque(self.options.server)
        while not self.is_over():
            server = servers[0]
            servers.rotate(-1)
            channel = self.dial(server)
            try:
                stub = self.shape.rpc.AgentGatewayStub(channel)
                request = self.shape.pb.RegisterRequest(agent_id=self.id)
                session = stub.Register(request, metadata=self.metadata, timeout=10)
                self.report["registered"] += 1
                # One that failed later is followed by the next at once.
                backoff = self.options.backoff_initial
                self.stream(stub, session.session_id)
            except grpc.RpcError as error:
                self.failures["Register " + error.code().name] += 1
                time.sleep(backoff)
                backoff = min(backoff * 2, self.options.backoff_max)
            finally:
                channel.close()
        self.over.set()

    def dial(self, server):
        options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.use_local_subchannel_pool", 1))
        if self.options.ca is None:
            return grpc.insecure_channel(server, options)
        with open(self.options.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
        return grpc.secure_channel(server, credentials, options)

    def capture(self):
        """What the vehicle says: a burst now and then, and something in between."""
        ends = time.monotonic() + self.options.seconds
        count = 0
        while time.monotonic() < ends:
            # Where what is captured cannot be delivered as fast, the rest of the time is for delivering.
            if self.log.left() < LEFT_MAX:
                self.log.capture(self.options.burst if count % self.options.burst_every == 0 else 20)
                count += 1
            if self.landed.wait(0.1):
                break
        self.lands_at = time.monotonic()
        self.log.capturing = False

    def stream(self, stub, session_id):
        self.report["streams"] += 1
        answers, closed = queue.Queue(), threading.Event()

        def messages():
            while not closed.is_set() and not self.is_over():
                while not answers.empty():
                    yield answers.get()
                batch = self.log.batch(closed)
                for seq in batch:
                    yield self.shape.message(self.id, session_id, seq)
                self.log.was_sent(batch)

        try:
            for message in stub.TelemetryStream(messages(), metadata=self.metadata):
                self.shape.heard(message, self.log, self.report, answers)
        except grpc.RpcError as error:
            self.failures["TelemetryStream " + error.code().name] += 1
        finally:
            self.log.close(closed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=["legacy", "envelope"], required=True)
    parser.add_argument("--identity", required=True, help="the UUID that its id is made of")
    parser.add_argument("--server", action="append", required=True, help="HOST:PORT; of several the next in turn")
    parser.add_argument("--ca", help="the certificate that the relay's is signed by, in PEM; without it plaintext")
    parser.add_argument("--seconds", type=float, required=True, help="how long it captures, unless SIGTERM ends that")
    parser.add_argument("--patience", type=float, default=30, help="how long it goes on then while nothing is delivered")
    parser.add_argument("--burst", type=int, default=BURST)
    parser.add_argument("--burst-every", type=int, default=10, help="in tenths of a second")
    parser.add_argument("--resend-after", type=float, default=3)
    parser.add_argument("--backoff-initial", type=float, default=0.1)
    parser.add_argument("--backoff-max", type=float, default=1)
    options = parser.parse_args()
    agent = Agent(options, Legacy() if options.shape == "legacy" else Envelope())
    signal.signal(signal.SIGTERM, lambda *_: agent.landed.set())
    agent.run()
    report = agent.report
    report["captured"], report["left"] = agent.log.last, agent.log.left()
    report["acknowledged"] = sorted(agent.log.delivered)
    report["statuses"] = {str(status): count for status, count in report["statuses"].items()}
    report["failures"] = dict(agent.failures)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
