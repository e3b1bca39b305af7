"""An HTTPS server of MTA-STS policies: one loopback port for many policy hosts, told apart by SNI.

`server.pages["mta-sts.d.test"]` is the text of a policy, or a function that is given the request's handler and
writes whatever it likes. `server.certificates[host]` is a pair (certificate, key) in place of the good one, which
issue() makes for all hosts that were added before. Whatever is posted is in `server.posts`."""
import collections
import http.server
import ssl
import threading

PATH = "/.well-known/mta-sts.txt"


def policy(mode, *mx, max_age=86400):
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {m}" for m in mx), f"max_age: {max_age}"]
    return "\r\n".join(lines) + "\r\n"


Post = collections.namedtuple("Post", "host path headers body")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        with self.server.owner.lock:
            self.server.owner.requests[host] += 1
            page = self.server.owner.pages.get(host)
        assert self.connection.server_hostname_seen == host
        if self.path != PATH or page is None:
            self.send_error(404)
        elif callable(page):
            page(self)
        else:
            self.answer(200, page)

    def do_POST(self):
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.owner.lock:
            self.server.owner.posts.append(Post(host, self.path, self.headers, body))
            status = self.server.owner.receivers.get(host, lambda: 200)()
        self.answer(status, "", **({"Location": f"https://{self.headers['Host']}/redirected"} if status == 302 else {}))

    def answer(self, status, text, **fields):
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content_Type": "text/plain", "Content_Length": str(len(body)), **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # clients that refuse a certificate, or hang up: the test sees what they do

    def process_request_thread(self, request, address):
        try:
            request = self.owner.context(None).wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            request.close()
            return
        super().process_request_thread(request, address)


class Socket(ssl.SSLSocket):
    server_hostname_seen = None


class PolicyServer:
    def __init__(self, authority):
        self.authority, self.pages, self.certificates = authority, {}, {}
        self.requests = collections.Counter()
        self.posts, self.receivers = [], {}  # what was posted; by host, what gives the status of the next answer
        self.lock = threading.Lock()
        self.issued = None
        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.listener.owner = self
        self.port = self.listener.server_address[1]
        self.thread = threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def context(self, host):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = Socket
        context.load_cert_chain(*(self.certificates.get(host) or self.issued))
        context.sni_callback = self.on_sni
        return context

    def on_sni(self, connection, name, _):
        connection.server_hostname_seen = name
        connection.context = self.context(name)

    def add(self, host, page, certificate=None):
        with self.lock:
            self.pages[host] = page
            if certificate:
                self.certificates[host] = certificate

    def issue(self):
        self.issued = self.authority.issue(*self.pages)

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
