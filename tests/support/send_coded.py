"""Sends a file compressed, as it is read, with httpx over HTTP/1.1 or HTTP/2.

usage: send_coded.py VERSION CODING URL CA FILE
CODING is gzip or deflate, done by Python's own zlib. Ends with 0 only if the answer was 200, or,
where the coding is refused, 415 with a list of codings that has gzip and not this one.
"""

import ssl
import sys
import zlib

import httpx


def chunks(path, coding):
    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    with open(path, "rb") as file:
        while block := file.read(100_000):
            yield squeeze.compress(block)
    yield squeeze.flush()


def main():
    version, coding, url, ca, path = sys.argv[1:]
    http2 = version == "2"
    context = ssl.create_default_context(cafile=ca)
    with httpx.Client(verify=context, http1=not http2, http2=http2, timeout=120) as client:

        def send(coding):
            headers = {"content-type": "application/x-ndjson", "content-encoding": coding}
            return client.post(url, content=chunks(path, coding), headers=headers)

        answer = send(coding)
        if answer.status_code == 415:
            taken = answer.headers["accept-encoding"].split(", ")
            print(f"{coding} is not taken, but {taken}")
            if coding in taken or "gzip" not in taken:
                sys.exit(f"415: {answer.headers}")
            return
        wanted = "HTTP/2" if http2 else "HTTP/1.1"
        if answer.status_code != 200 or answer.http_version != wanted:
            sys.exit(f"{answer.http_version} {answer.status_code}: {answer.text}")


main()
