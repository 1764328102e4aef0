"""A gRPC server, or a client that makes every sort of call and says what came of it."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "test.Echo"
same = lambda message: message


def said(line):
    print(line, flush=True)


def unary(request, context):
    asked = dict(context.invocation_metadata())
    told = json.dumps({k: asked[k] for k in ("x-asked", "x-unasked") if k in asked})
    context.set_trailing_metadata((("x-listed", "behind"), ("x-other", "no")))
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    if request == b"asked":
        return told.encode()
    return request


def many(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def both(requests, context):
    for request in requests:
        yield b"<" + request + b">"


def wait(request, context):
    over = threading.Event()
    context.add_callback(over.set)
    began = time.monotonic()
    over.wait(20)
    said("cancelled" if time.monotonic() - began < 10 else "never cancelled")
    return b""


def serve(files):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, handlers),)
    )
    if files:
        certificate, key = (open(f, "rb").read() for f in files)
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    said(f"port {port}")
    server.wait_for_termination()


def call(port, ca):
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials)
    method = lambda kind, name: getattr(channel, kind)(f"/{SERVICE}/{name}", same, same)
    result = {}

    plain = method("unary_unary", "Unary")
    answer, how = plain.with_call(b"hello", timeout=20)
    result["unary"] = answer.decode()
    result["code"] = how.code().name
    result["trailers"] = sorted(k for k, _ in how.trailing_metadata())
    large = bytes(range(256)) * 8192
    result["large"] = plain(large, timeout=20) == large
    metadata = (("x-asked", "1"), ("x-unasked", "2"))
    result["asked"] = json.loads(plain(b"asked", timeout=20, metadata=metadata))
    try:
        plain(b"fail", timeout=20)
    except grpc.RpcError as error:
        result["fault"] = [error.code().name, error.details()]
    try:
        method("unary_unary", "None")(b"", timeout=20)
    except grpc.RpcError as error:
        result["unknown"] = error.code().name

    stream = method("unary_stream", "Many")
    result["many"] = [m.decode() for m in stream(b"5", timeout=20)]

    # Each answer before the next question: nothing waits for an end.
    turn = threading.Semaphore(0)

    def questions():
        for n in range(4):
            yield b"q%d" % n
            turn.acquire()

    result["both"] = []
    for answer in method("stream_stream", "Both")(questions(), timeout=20):
        result["both"].append(answer.decode())
        turn.release()

    slow = method("unary_unary", "Wait")
    try:
        slow(b"", timeout=0.7)
    except grpc.RpcError as error:
        result["deadline"] = error.code().name
    pending = slow.future(b"", timeout=20)
    time.sleep(0.5)
    pending.cancel()
    result["cancelled"] = pending.cancelled()
    result["after"] = plain(b"still", timeout=20).decode()
    print(json.dumps(result))


if sys.argv[1] == "serve":
    serve(sys.argv[2:])
else:
    call(*sys.argv[2:])
