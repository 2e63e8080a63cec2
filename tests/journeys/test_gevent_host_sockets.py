"""gevent's programs on our loop: sockets and servers, what waits for them, files and pipes."""

from __future__ import annotations

import pytest
from tests.journeys.gevent_programs import PATCHED, POLLERS, run

# -- sockets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_two_hundred_clients_talk_to_a_stream_server(poller: str) -> None:
    program = """
    import gevent.server
    import gevent.socket

    def echo(connection, address):
        while data := connection.recv(4096):
            connection.sendall(data)

    def talk(number):
        with gevent.socket.create_connection(server.address) as client:
            for size in (1, 100, 10_000):
                client.sendall(bytes([number]) * size)
                data = b""
                while len(data) < size:
                    data += client.recv(size)
                assert data == bytes([number]) * size
        return 1

    server = gevent.server.StreamServer(("127.0.0.1", 0), echo, backlog=256)
    server.start()
    greenlets = [gevent.spawn(talk, number) for number in range(200)]
    print(sum(greenlet.get(timeout=40) for greenlet in greenlets))
    server.stop()
    """
    assert run(program, poller=poller) == ["200"]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_socket_that_is_closed_wakes_who_waits_for_it(poller: str) -> None:
    program = """
    import gevent.socket

    gevent.sleep(0.001)  # before its first sleep the loop opens what signals wake it by
    here, there = gevent.socket.socketpair()

    def wait():
        try:
            here.recv(1)
        except OSError as error:
            return type(error).__name__, error.errno

    greenlet = gevent.spawn(wait)
    gevent.sleep(0)
    number = here.fileno()
    here.close()
    print(greenlet.get(timeout=20))
    gevent.sleep(0.001)
    again, peer = gevent.socket.socketpair()  # which reuses the number
    assert number in (again.fileno(), peer.fileno())
    gevent.spawn_later(0.001, peer.sendall, b"x")
    print(again.recv(1))
    """
    assert run(program, poller=poller) == ["('cancel_wait_ex', 9)", "b'x'"]


def test_a_datagram_server_answers() -> None:
    program = """
    import gevent.server
    import gevent.socket

    class Server(gevent.server.DatagramServer):
        def handle(self, data, address):
            self.socket.sendto(data[::-1], address)

    server = Server(("127.0.0.1", 0))
    server.start()
    client = gevent.socket.socket(type=gevent.socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", server.server_port))
    for word in (b"one", b"two"):
        client.send(word)
        print(client.recv(10))
    server.stop()
    """
    assert run(program) == ["b'eno'", "b'owt'"]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_wsgi_server_answers_the_standard_librarys_client(poller: str) -> None:
    program = """
    import http.client
    import urllib.request
    from gevent.pywsgi import WSGIServer

    def application(environ, start_response):
        gevent.sleep(0.001)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode(), body]

    def ask(number):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{number}", timeout=40) as answer:
            return answer.read()

    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    greenlets = [gevent.spawn(ask, number) for number in range(100)]
    print(all(greenlet.get() == b"/%d" % number for number, greenlet in enumerate(greenlets)))
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=40)
    for number in range(3):  # one after the other on one connection
        connection.request("POST", "/post", body=b"x" * 100_000)
        print(len(connection.getresponse().read()))
    connection.close()
    server.stop()
    """
    assert run(program, first=PATCHED, poller=poller) == ["True", "100005", "100005", "100005"]


def test_tls_between_greenlets() -> None:
    program = """
    import socket
    import ssl
    import gevent.server
    import gevent.tests

    where = os.path.dirname(gevent.tests.__file__)

    def echo(connection, address):
        while data := connection.recv(100_000):
            connection.sendall(data)

    files = dict(keyfile=f"{where}/test_server.key", certfile=f"{where}/test_server.crt")
    server = gevent.server.StreamServer(("127.0.0.1", 0), echo, **files)
    server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(server.address) as plain, context.wrap_socket(plain) as client:
        gevent.spawn(client.sendall, b"x" * 300_000)
        data = b""
        while len(data) < 300_000:
            data += client.recv(100_000)
        print(data == b"x" * 300_000)
    server.stop()
    """
    assert run(program, first=PATCHED) == ["True"]


@pytest.mark.parametrize("poller", POLLERS)
def test_select_poll_and_selectors_wait_in_greenlets(poller: str) -> None:
    program = """
    import select
    import selectors
    import socket

    assert not hasattr(select, "epoll")  # patched away; and the loop has one nevertheless, unless told otherwise
    here, there = socket.socketpair()
    print(select.select([here], [here], [], 20)[1] == [here], select.select([here], [], [], 0.001))
    gevent.spawn_later(0.001, there.send, b"x")
    print(select.select([here], [], [], 20)[0] == [here])
    poller = select.poll()
    poller.register(there, select.POLLIN)
    print(poller.poll(1))
    poller.register(here, 0)
    print(poller.poll(1))
    poller.modify(here, select.POLLIN | select.POLLOUT)
    print(poller.poll(20_000) == [(here.fileno(), select.POLLIN | select.POLLOUT)])
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ, "data")
        print([(key.data, events) for key, events in selector.select(20)])
    """
    assert run(program, first=PATCHED, poller=poller) == [
        "True ([], [], [])",
        "True",
        "[]",
        "[]",
        "True",
        "[('data', 1)]",
    ]


def test_files_and_pipes_are_read_in_greenlets() -> None:
    program = """
    import tempfile
    from gevent.fileobject import FileObjectPosix, FileObjectThread

    reader, writer = os.pipe()
    with FileObjectPosix(reader, "rb") as source, FileObjectPosix(writer, "wb") as sink:
        greenlet = gevent.spawn(source.read, 300_000)
        sink.write(b"x" * 300_000)
        sink.flush()
        print(len(greenlet.get(timeout=20)))
    with tempfile.TemporaryFile() as plain:
        file = FileObjectThread(plain, "w+b", close=False)
        file.write(b"text")
        file.seek(0)
        print(file.read())
    """
    assert run(program) == ["300000", "b'text'"]


def test_a_backdoor_lets_one_look_inside() -> None:
    program = """
    import gevent.backdoor
    import gevent.socket

    server = gevent.backdoor.BackdoorServer(("127.0.0.1", 0), locals={"secret": 42})
    server.start()
    with gevent.socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(b"secret + 1\\r\\nquit()\\r\\n")
        text = b""
        while b"43" not in text:
            text += client.recv(1000)
        print("inside")
    server.stop()
    """
    assert run(program) == ["inside"]
