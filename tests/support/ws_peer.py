"""A WebSocket server that prints each message and answers it, or a client that sends some."""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


def said(line):
    print(line, flush=True)


async def answer(socket):
    said(json.dumps({"compressed": "Sec-WebSocket-Extensions" in socket.request.headers}))
    try:
        async for message in socket:
            said(json.dumps({"got": message}))
            await socket.send(message)
    except ConnectionClosed:
        pass
    said(json.dumps({"closed": socket.close_code}))


async def server():
    async with serve(answer, "127.0.0.1", 0, ping_interval=0.2) as running:
        said(running.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def client(port, ca, certificate, key):
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    url = f"wss://localhost:{port}/ws"
    async with connect(url, ssl=context, ping_interval=0.2) as socket:
        said("open")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            # A list goes out in as many fragments.
            await socket.send(json.loads(line))
            try:
                said(json.dumps({"got": await socket.recv()}))
            except ConnectionClosed:
                break
    said(json.dumps({"closed": socket.close_code, "reason": socket.close_reason}))


if sys.argv[1] == "serve":
    asyncio.run(server())
else:
    asyncio.run(client(*sys.argv[2:]))
