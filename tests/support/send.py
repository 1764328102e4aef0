"""Sends files to the gateway with httpx, over HTTP/1.1 or HTTP/2, as a data engineer would.

usage: send.py VERSION PORT HOST CA CERTIFICATE KEY PATH FILE...
Each file is one streamed body (no Content-Length). Ends with 0 only if every answer was 200 and
came over the version asked for.
"""

import ssl
import sys

import httpx


def chunks(path):
    with open(path, "rb") as file:
        while block := file.read(100_000):
            yield block


def main():
    version, port, host, ca, certificate, key, path, *files = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    http2 = version == "2"
    with httpx.Client(verify=context, http1=not http2, http2=http2, timeout=120) as client:
        for file in files:
            answer = client.post(
                f"https://{host}:{port}{path}",
                content=chunks(file),
                headers={"content-type": "application/x-ndjson"},
            )
            wanted = "HTTP/2" if http2 else "HTTP/1.1"
            if answer.status_code != 200 or answer.http_version != wanted:
                sys.exit(f"{answer.http_version} {answer.status_code}: {answer.text}")


main()
