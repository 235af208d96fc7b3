"""A backend that answers each request with what it got: the request line, then every header as it came."""
import http.server
import sys


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        got = 0
        while got < size:
            got += len(self.rfile.read(min(65536, size - got)))
        text = f"port {sys.argv[1]}\n{self.requestline}\nbody {got}\n" + "".join(f"{k}: {v}\n" for k, v in self.headers.items())
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
