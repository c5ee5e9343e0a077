/* An echo server, as fast as one thread can be: it shows what the generator can do. Prints `ready HOST:PORT`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, EVENTS_MAX = 256, BACKLOG = 1024 };

static char buffer[READ_BYTES];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size)) fail("getsockname");
    printf("ready 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void watch(int poll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void take_client(int poll, int listener) {
    int yes = 1, client = accept(listener, NULL, NULL);
    if (client < 0) return;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(poll, client);
}

/* Sockets block: the generator reads whatever it has asked for. */
static void echo(int client) {
    ssize_t got = recv(client, buffer, sizeof buffer, 0);
    if (got <= 0) {
        close(client);
        return;
    }
    for (ssize_t sent = 0; sent < got;) {
        ssize_t more = send(client, buffer + sent, (size_t)(got - sent), MSG_NOSIGNAL);
        if (more < 0) return; /* the next recv sees it */
        sent += more;
    }
}

int main(void) {
    struct epoll_event events[EVENTS_MAX];
    int listener = listen_on_loopback(), poll = epoll_create1(0);
    watch(poll, listener);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS_MAX, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int number = 0; number < ready; number++) {
            int fd = events[number].data.fd;
            if (fd == listener) take_client(poll, listener);
            else echo(fd);
        }
    }
}
