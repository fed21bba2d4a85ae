"""What both clients share: no sockets here, only values."""
