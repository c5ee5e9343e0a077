"""The real world: sockets, the clock and the process, with gevent; the only package that imports it."""
