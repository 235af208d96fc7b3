"""Which TCP ports of a machine accept a connection.

usage: scan.py ADDRESS [PORT...]; without ports all 65535. Prints the open ones, one a line.
"""
import errno
import resource
import select
import socket
import sys
import time

BATCH = 8192
SECONDS = 4  # a lost packet is sent again after one and after three

address = sys.argv[1]
ports = [int(port) for port in sys.argv[2:]] or list(range(1, 65536))
family = socket.AF_INET6 if ":" in address else socket.AF_INET
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
batch = min(BATCH, hard - 64)

for start in range(0, len(ports), batch):
    poll = select.epoll()
    sockets = {}
    for port in ports[start : start + batch]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if sock.connect_ex((address, port)) in (0, 115):
            sockets[sock.fileno()] = (sock, port)
            poll.register(sock, select.EPOLLOUT | select.EPOLLERR)
    end = time.monotonic() + SECONDS
    while sockets and (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            sock, port = sockets.pop(number)
            # open also when it is reset at once: nobody stands behind it at the moment
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNRESET):
                print(port, flush=True)
            poll.unregister(number)
            sock.close()
    for sock, _ in sockets.values():
        sock.close()
