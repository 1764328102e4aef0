"""A web server as there are many: answers every request, and writes down what it saw.

usage: portal.py ADDRESS PORT LOG [CERTIFICATE KEY]
Prints the port it listens on. One JSON object a line in LOG: peer, method, path, headers, body.
"""

import http.server
import json
import ssl
import sys


class Portal(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.headers.get("transfer-encoding", "") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        seen = {
            "peer": self.client_address[0],
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": body.decode("utf-8", "replace"),
        }
        with open(sys.argv[3], "a") as log:
            log.write(json.dumps(seen) + "\n")
        answer = b'{"taken": true}\n'
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Portal", "yes")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    # The handshake belongs to the connection's own thread: a client that never begins it must
    # not keep the others waiting.
    def finish_request(self, request, address):
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)

    def handle_error(self, *_):
        pass


def main():
    address, port, _, *pair = sys.argv[1:]
    server = Server((address, int(port)), Portal)
    if pair:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(*pair)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
