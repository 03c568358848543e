"""Replies as bytes."""

from gomlx.server.http.response import HeadTooLarge, TooManyConnections, response
from gomlx.server.predict.reply import Reply, refusal

DATE = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


def test_an_answer() -> None:
    reply = Reply(200, b'{"y":2.0}', "gomlx; hit; detail=L1", "0123")
    assert response(reply, DATE, "") == (
        b"HTTP/1.1 200 OK\r\n"
        b"content-type: application/json\r\n"
        b"cache-status: gomlx; hit; detail=L1\r\n"
        b"gomlx-version: 0123\r\n"
        b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"content-length: 9\r\n"
        b"\r\n"
        b'{"y":2.0}'
    )


def test_a_refusal_that_closes() -> None:
    sent = response(refusal(TooManyConnections()), DATE, "close")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in head
    assert b"\r\nconnection: close\r\n" in head
    assert body == b'{"status":"error","error":"too many connections"}'


def test_a_head_that_is_too_large() -> None:
    sent = response(refusal(HeadTooLarge(500)), DATE, "close")
    assert sent.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"the head is larger than 500 bytes" in sent
