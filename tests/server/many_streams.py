"""Many requests at once on one connection of HTTP/2."""

import json
import socket
from typing import Any

import h2.connection
import h2.events


def ask_at_once(peer: socket.socket, path: str, count: int) -> dict[int, Any]:
    """Ask for many x, by GET and POST in turn, all before the first answer is read.

    Returns the data of the answers by x.
    """
    client = h2.connection.H2Connection()
    client.initiate_connection()
    streams = range(1, 2 * count, 2)
    for stream in streams:
        is_get = stream % 4 == 1
        pseudo = {
            ":method": "GET" if is_get else "POST",
            ":path": f"{path}?x={stream}" if is_get else path,
            ":scheme": "http",
            ":authority": "x",
        }
        client.send_headers(stream, list(pseudo.items()), end_stream=is_get)
        if not is_get:
            client.send_data(stream, b'{"x":%d}' % stream, end_stream=True)
    bodies = dict.fromkeys(streams, b"")
    ended = 0
    while ended < count:
        peer.sendall(client.data_to_send())
        for event in client.receive_data(peer.recv(1 << 16)):
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
            ended += isinstance(event, h2.events.StreamEnded)
    assert client.remote_settings.max_concurrent_streams >= count
    return {stream: json.loads(body)["data"] for stream, body in bodies.items()}
