"""Calls a node at its mesh port as another node would, with other people's QUIC, HTTP/3, HTTP/2 and TLS.

Each call is one argument, [TIMES*]CARRIER:METHOD:BYTES[:READ]: how often it is made, over which carrier (h3 or h2), the method
of gRPC, how many bytes the field 15 of its message has (0: the message is empty), and after how many messages of the answer the
caller leaves (none: at its end). One line of JSON is printed for each, those over h3 first.
"""

import argparse
import asyncio
import json
import socket
import ssl

import grpc
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

AT_A_TIME = 100


def message(size):
    """A field that nobody knows, of so many bytes."""
    if size == 0:
        return b""
    length, rest = bytearray(), size
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes([15 << 3 | 2]) + bytes(length) + bytes(size)


class Client(QuicConnectionProtocol):
    """One connection, and the answers on its streams."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for answer in self.answers.values():
                answer["ended"] = event.reason_phrase or f"code {event.error_code}"
                answer["news"].set()
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id]["ended"] = f"reset with {event.error_code}"
            self.answers[event.stream_id]["news"].set()
        for told in self.http.handle_event(event):
            answer = self.answers.get(told.stream_id)
            if answer is None:
                continue
            if isinstance(told, HeadersReceived):
                answer["headers"].update({name.decode(): value.decode() for name, value in told.headers})
            elif isinstance(told, DataReceived):
                answer["data"] += told.data
            if told.stream_ended:
                answer["ended"] = ""
            answer["news"].set()

    async def call(self, method, size, read):
        """A call, and what came of it."""
        stream = self._quic.get_next_available_stream_id()
        answer = {"headers": {}, "data": b"", "ended": None, "news": asyncio.Event()}
        self.answers[stream] = answer
        head = {
            ":method": "POST",
            ":scheme": "https",
            ":authority": "node.mesh",
            ":path": "/" + method,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head.items()])
        body = message(size)
        self.http.send_data(stream, bytes([0]) + len(body).to_bytes(4, "big") + body, end_stream=True)
        self.transmit()
        # Whoever stops at once does so when the call is on its way: before that nobody hears of it.
        while stream in self._quic._streams and self._quic._streams[stream].is_blocked:
            await asyncio.sleep(0.001)
        while answer["ended"] is None and (read is None or messages(answer["data"]) < read):
            answer["news"].clear()
            await asyncio.wait_for(answer["news"].wait(), 20)
        if answer["ended"] is None:
            self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
            self.transmit()
        return {
            "carrier": "h3",
            "status": answer["headers"].get("grpc-status"),
            "transport": answer["headers"].get("rpc-transport"),
            "messages": messages(answer["data"]),
            "bytes": len(answer["data"]),
            "ended": answer["ended"],
        }


def messages(data):
    """How many whole messages of gRPC there are."""
    count = 0
    while len(data) >= 5:
        length = int.from_bytes(data[1:5], "big")
        if len(data) < 5 + length:
            break
        data, count = data[5 + length :], count + 1
    return count


async def over_h3(options, calls):
    """The calls on one connection, so many at a time, and what tickets it gave to come back with."""
    tickets = []
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name=options.name)
    configuration.load_verify_locations(cafile=options.roots)
    configuration.load_cert_chain(options.identity, options.identity)
    host, port = options.address.rsplit(":", 1)
    told = []
    async with connect(
        host,
        int(port),
        configuration=configuration,
        create_protocol=Client,
        session_ticket_handler=tickets.append,
    ) as client:
        for at in range(0, len(calls), AT_A_TIME):
            told += await asyncio.gather(*(client.call(*call) for call in calls[at : at + AT_A_TIME]))
    early = [ticket.max_early_data_size for ticket in tickets]
    return told, {"tickets": len(tickets), "early_data_max": max([size or 0 for size in early], default=0)}


def over_h2(options, calls):
    """All calls on one channel."""
    with open(options.identity, "rb") as file:
        identity = file.read()
    with open(options.roots, "rb") as file:
        roots = file.read()
    shown = grpc.ssl_channel_credentials(roots, identity, identity)
    told = []
    with grpc.secure_channel(options.address, shown, [("grpc.ssl_target_name_override", options.name)]) as channel:
        for method, size, read in calls:
            answers = channel.unary_stream("/" + method)(message(size), timeout=20)
            got, count, left = 0, 0, False
            try:
                for answer in answers:
                    got, count = got + len(answer) + 5, count + 1
                    if read is not None and count >= read:
                        left = True
                        answers.cancel()
                        break
                code = None if left else answers.code()
            except grpc.RpcError as error:
                code = error.code()
            heads = dict(answers.initial_metadata() or [])
            heads.update(dict(() if left else answers.trailing_metadata() or []))
            told.append(
                {
                    "carrier": "h2",
                    "status": None if code is None else str(code.value[0]),
                    "transport": heads.get("rpc-transport"),
                    "messages": count,
                    "bytes": got,
                    "ended": None if left else "",
                }
            )
    return told


def handshake(options, version):
    """Which protocols are agreed on with TLS of this version, by a client that shows its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(options.roots)
    context.load_cert_chain(options.identity)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, port = options.address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 10) as plain:
            with context.wrap_socket(plain, server_hostname=options.name) as stream:
                return f"{stream.version()} {stream.selected_alpn_protocol()}"
    except (ssl.SSLError, ConnectionError) as error:
        return f"refused: {getattr(error, 'reason', error)}"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--address", required=True)
    options.add_argument("--identity", required=True, help="a PEM file with a key and its chain")
    options.add_argument("--roots", required=True)
    options.add_argument("--name", required=True, help="whom the certificate of the node names")
    options.add_argument("calls", nargs="*")
    options = options.parse_args()
    calls = {"h3": [], "h2": []}
    for call in options.calls:
        times, _, call = call.rpartition("*")
        carrier, method, size, *read = call.split(":")
        calls[carrier] += [(method, int(size), int(read[0]) if read else None)] * int(times or 1)
    told, early = asyncio.run(over_h3(options, calls["h3"]))
    told += over_h2(options, calls["h2"])
    for one in told:
        print(json.dumps(one))
    shakes = {version.name: handshake(options, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
    print(json.dumps({**early, **shakes}))


if __name__ == "__main__":
    main()
