"""Calls the host, and shows how the network is set up."""
import socket, sys
connection = socket.create_connection(('10.0.2.2', int(sys.argv[1])), timeout=60)
connection.sendall(b'from the guest\n')
connection.shutdown(socket.SHUT_WR)
print(connection.makefile().read(), end='')
print(connection.getsockname()[0])
print(open('/etc/resolv.conf').read(), end='')
