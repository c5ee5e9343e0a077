/* The load generator: plays prepared requests over many connections, keeps a fixed number in flight on each, and checks
 * and times every answer. One thread, one epoll loop, nothing but libc. Prints one line of JSON.
 *
 * load --requests FILE [--connections 64] [--pipeline 1] [--seconds 1] [--warmup 0.2] [--protocol api|resp]
 *      [--value-bytes N] [--once] [--rate N [--interval S]] [--stall 10] host:port [host:port ...]
 *
 * FILE holds whole requests, one after another. Every connection walks through them in turn, each from another place;
 * connections are spread over the addresses. Answers come in the order of the requests. With `--protocol api` they
 * are split by their size field and counted by type (652, 653), and each must repeat the key of its request. PUTs must
 * ask for their answer (bit 0 of `reserved`); a request of type 652 is for a server that echoes. With `--protocol
 * resp` (redis) requests are SET and GET, and a value must begin with its key. A GET's value of another length than
 * --value-bytes, or another key, is a mismatch. Answers that come during the warmup or after the end are checked, not
 * counted. --once sends each request once, whatever --seconds says.
 *
 * --rate sends so many requests per second, at even intervals over all connections, whether or not answers have come;
 * latency counts from the moment at which a request was to be sent. Then --pipeline is how many may be without an answer
 * on one connection: more wait in this program, and `unsent` says how many still did at the end, `waiting` how many had
 * been sent and not answered. With --interval each such time's answers are told on a line of their own before the last
 * line. Exit code: 0, 1 the run failed, 2 used wrongly.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_BYTES = 32,
    API_PUT = 650,
    API_GET = 651,
    API_SUCCESS = 652,
    API_FAILURE = 653,
    INPUT_BYTES = 1 << 18,
    EVENTS_MAX = 256,
    CONNECTIONS_MAX = 10000,
    PIPELINE_MAX = 65536,
    RESP_LINE_BYTES_MAX = 512,
    TICK_NS = 250000, /* how late a request may be sent with --rate */
    SUB_BUCKET_BITS = 7, /* buckets of less than 1 % */
    SUB_BUCKETS = 1 << SUB_BUCKET_BITS,
    BUCKETS = (64 - SUB_BUCKET_BITS + 1) * SUB_BUCKETS,
};

typedef struct {
    size_t start;       /* in the file */
    const uint8_t *key; /* KEY_BYTES */
    bool reads;         /* a GET, whose answer has a value */
} Request;

typedef enum { SUCCESS, FAILURE, PARTIAL, BROKEN } Kind;
enum { SUCCESSES = 1 << SUCCESS, FAILURES = 1 << FAILURE };

/* The answers of one kind, and how long they took. */
typedef struct {
    uint64_t count, max_ns;
    uint64_t buckets[BUCKETS];
} Latencies;

typedef struct {
    Kind kind;
    size_t bytes;
    const uint8_t *key; /* NULL when it has none */
    size_t value_bytes;
} Answer;

typedef struct {
    int fd;
    uint64_t first;     /* the request it begins with */
    uint64_t allowed;   /* how many it may send by now; counts from 0 for its first request */
    uint64_t answered;
    uint64_t limit;     /* how many it may send ever */
    size_t position;    /* in the file, of the next byte to send */
    uint64_t sent_bytes_due;
    uint64_t *sent_ns;  /* when each request in flight was, or was to be, sent; a ring of `pipeline` places */
    uint8_t *input;
    size_t input_bytes;
} Connection;

static struct {
    int connections, pipeline;
    double seconds, warmup, stall, rate, interval;
    bool resp, once;
    long value_bytes;
    const char *file;
} options = {.connections = 64, .pipeline = 1, .seconds = 1, .warmup = 0.2, .stall = 10, .value_bytes = -1};

static uint8_t *file;
static size_t file_bytes;
static Request *requests; /* one more than there are: the last one starts at the file's end */
static uint64_t request_count;
static Connection *connections;

static Latencies counted[2], slice[2]; /* by kind; slice: those of the present --interval */
static uint64_t mismatches;
static uint64_t all_answers; /* those that are not counted too */
static uint64_t began_sending_ns, slice_ends_ns;
static bool counting, ending;
static uint64_t in_flight;

static void fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void *take(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (!memory) fail(1, "out of memory");
    return memory;
}

static unsigned read_u16(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }

/* -- latencies: buckets that grow with the value ------------------------------------------------------------------ */

static size_t bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS) return value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BUCKET_BITS;
    return (size_t)(shift * SUB_BUCKETS + (value >> shift));
}

static double bucket_middle(size_t bucket) {
    if (bucket < 2 * SUB_BUCKETS) return (double)bucket;
    uint64_t shift = bucket / SUB_BUCKETS - 1;
    return ((double)(bucket - shift * SUB_BUCKETS) + 0.5) * (double)(1ull << shift);
}

static double percentile_us(const Latencies *of, unsigned kinds, double share) {
    uint64_t total = 0, most = 0, seen = 0;
    for (int kind = SUCCESS; kind <= FAILURE; kind++) {
        if (!(kinds & 1u << kind)) continue;
        total += of[kind].count;
        if (of[kind].max_ns > most) most = of[kind].max_ns;
    }
    for (size_t bucket = 0; bucket < BUCKETS && total; bucket++) {
        for (int kind = SUCCESS; kind <= FAILURE; kind++)
            if (kinds & 1u << kind) seen += of[kind].buckets[bucket];
        if (seen && (double)seen >= share * (double)total) {
            double middle = bucket_middle(bucket);
            return (share < 1 && middle < (double)most ? middle : (double)most) / 1000;
        }
    }
    return 0;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

static void read_file(void) {
    FILE *stream = fopen(options.file, "rb");
    if (!stream) fail(2, "cannot open %s: %s", options.file, strerror(errno));
    fseek(stream, 0, SEEK_END);
    file_bytes = (size_t)ftell(stream);
    rewind(stream);
    file = take(file_bytes + 1, 1); /* ends in a zero, so that numbers in it end too */
    if (fread(file, 1, file_bytes, stream) != file_bytes) fail(2, "cannot read %s", options.file);
    fclose(stream);
}

/* The bytes of the request at a place in the file, 0 when it is none. */
static size_t parse_api_request(size_t start, Request *request) {
    const uint8_t *at = file + start;
    size_t left = file_bytes - start;
    if (left < 4 + KEY_BYTES) return 0;
    size_t bytes = read_u16(at);
    unsigned type = read_u16(at + 2);
    if (type == API_PUT && (bytes < 8 + KEY_BYTES || !(at[7] & 1))) return 0;
    if (type != API_PUT && type != API_GET && type != API_SUCCESS) return 0;
    *request = (Request){start, at + (type == API_PUT ? 8 : 4), type == API_GET};
    return bytes >= 4 + KEY_BYTES && bytes <= left ? bytes : 0;
}

static size_t parse_resp_request(size_t start, Request *request) {
    uint8_t *at = file + start, *end = file + file_bytes;
    char *next;
    if (*at != '*') return 0;
    long parts = strtol((char *)at + 1, &next, 10);
    *request = (Request){start, NULL, parts == 2};
    at = (uint8_t *)next + 2;
    for (long part = 0; part < parts; part++) {
        if (at >= end || *at != '$') return 0;
        long bytes = strtol((char *)at + 1, &next, 10);
        at = (uint8_t *)next + 2;
        if (bytes < 0 || bytes > end - at - 2) return 0;
        if (part == 1 && bytes == KEY_BYTES) request->key = at;
        at += bytes + 2;
    }
    return request->key ? (size_t)(at - file) - start : 0;
}

static void index_requests(void) {
    size_t start = 0, room = 0;
    for (; start < file_bytes; request_count++) {
        if (request_count + 1 >= room) {
            room = room ? 2 * room : 1024;
            requests = realloc(requests, room * sizeof *requests);
            if (!requests) fail(1, "out of memory");
        }
        Request *request = &requests[request_count];
        size_t bytes = options.resp ? parse_resp_request(start, request) : parse_api_request(start, request);
        if (!bytes)
            fail(2, "%s: what begins at byte %zu is no request that is answered", options.file, start);
        start += bytes;
    }
    if (!request_count) fail(2, "%s has no requests", options.file);
    requests[request_count].start = file_bytes;
}

/* -- answers ------------------------------------------------------------------------------------------------------- */

static Answer parse_api_answer(const uint8_t *at, size_t left) {
    if (left < 4) return (Answer){.kind = PARTIAL};
    size_t bytes = read_u16(at);
    unsigned type = read_u16(at + 2);
    if (bytes < 4 + KEY_BYTES || (type != API_SUCCESS && type != API_FAILURE)) return (Answer){.kind = BROKEN};
    if (left < bytes) return (Answer){.kind = PARTIAL};
    return (Answer){type == API_SUCCESS ? SUCCESS : FAILURE, bytes, at + 4, bytes - 4 - KEY_BYTES};
}

static Answer parse_resp_answer(const uint8_t *at, size_t left) {
    const uint8_t *end = memchr(at, '\n', left < RESP_LINE_BYTES_MAX ? left : RESP_LINE_BYTES_MAX);
    if (!end) return (Answer){.kind = left < RESP_LINE_BYTES_MAX ? PARTIAL : BROKEN};
    size_t head = (size_t)(end - at) + 1;
    if (*at == '+') return (Answer){.kind = SUCCESS, .bytes = head};
    if (*at == '-') return (Answer){.kind = FAILURE, .bytes = head};
    if (*at != '$') return (Answer){.kind = BROKEN};
    long value_bytes = strtol((const char *)at + 1, NULL, 10);
    if (value_bytes < 0) return (Answer){.kind = FAILURE, .bytes = head};
    if ((size_t)value_bytes + head + 2 > INPUT_BYTES) return (Answer){.kind = BROKEN};
    if (left < head + (size_t)value_bytes + 2) return (Answer){.kind = PARTIAL};
    return (Answer){SUCCESS, head + (size_t)value_bytes + 2, value_bytes >= KEY_BYTES ? at + head : NULL,
                    (size_t)value_bytes};
}

static bool fits(const Request *request, const Answer *answer) {
    if (answer->key ? memcmp(answer->key, request->key, KEY_BYTES) : !options.resp) return false;
    return answer->kind != SUCCESS || !request->reads || options.value_bytes < 0 ||
           answer->value_bytes == (size_t)options.value_bytes;
}

static void note(Latencies *latencies, uint64_t took_ns) {
    latencies->count++;
    latencies->buckets[bucket_of(took_ns)]++;
    if (took_ns > latencies->max_ns) latencies->max_ns = took_ns;
}

static void count(Connection *connection, const Answer *answer, uint64_t now) {
    const Request *request = &requests[(connection->first + connection->answered) % request_count];
    uint64_t took_ns = now - connection->sent_ns[connection->answered % (uint64_t)options.pipeline];
    mismatches += !fits(request, answer);
    all_answers++;
    connection->answered++;
    in_flight--;
    if (slice_ends_ns) note(&slice[answer->kind], took_ns);
    if (counting) note(&counted[answer->kind], took_ns);
}

/* Count the whole answers of what has been read, and keep the rest. */
static void split(Connection *connection, uint64_t now) {
    size_t done = 0;
    while (done < connection->input_bytes) {
        const uint8_t *at = connection->input + done;
        size_t left = connection->input_bytes - done;
        Answer answer = options.resp ? parse_resp_answer(at, left) : parse_api_answer(at, left);
        if (answer.kind == PARTIAL) break;
        if (answer.kind == BROKEN) fail(1, "what a server sent is no answer");
        if (connection->answered == connection->allowed) fail(1, "a server sent more answers than it was asked for");
        count(connection, &answer, now);
        done += answer.bytes;
    }
    connection->input_bytes -= done;
    memmove(connection->input, connection->input + done, connection->input_bytes);
}

/* -- connections --------------------------------------------------------------------------------------------------- */

static struct sockaddr_in parse_address(const char *text) {
    char host[64];
    const char *colon = strrchr(text, ':');
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (!colon || (size_t)(colon - text) >= sizeof host) fail(2, "%s is no host:port", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail(2, "%s: the host must be an IPv4 address", text);
    return address;
}

static void open_connection(Connection *connection, const char *text) {
    struct sockaddr_in address = parse_address(text);
    int yes = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) fail(1, "no socket: %s", strerror(errno));
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address))
        fail(1, "cannot connect to %s: %s", text, strerror(errno));
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    connection->sent_ns = take((size_t)options.pipeline, sizeof(uint64_t));
    connection->input = take(INPUT_BYTES, 1);
}

static void place(Connection *connection, uint64_t number) {
    uint64_t all = (uint64_t)options.connections;
    connection->first = number * request_count / all;
    connection->limit = options.once ? (number + 1) * request_count / all - connection->first : UINT64_MAX;
    connection->position = requests[connection->first].start;
}

/* Write what is due; requests lie side by side in the file, so this is one call but at its end. */
static void flush_out(Connection *connection) {
    while (connection->sent_bytes_due) {
        size_t bytes = file_bytes - connection->position;
        if (bytes > connection->sent_bytes_due) bytes = connection->sent_bytes_due;
        ssize_t sent = send(connection->fd, file + connection->position, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return; /* EPOLLOUT will tell */
        if (sent < 0) fail(1, "cannot send: %s", strerror(errno));
        connection->position = (connection->position + (size_t)sent) % file_bytes;
        connection->sent_bytes_due -= (uint64_t)sent;
    }
}

/* When a request of a connection is to be sent with --rate. number: counts from 0 for its first one. */
static uint64_t due_ns(const Connection *connection, uint64_t number) {
    uint64_t place = number * (uint64_t)options.connections + (uint64_t)(connection - connections);
    return began_sending_ns + (uint64_t)((double)place * 1e9 / options.rate);
}

/* Send as many requests as are missing in flight, or as are due. */
static void refill(Connection *connection, uint64_t now) {
    uint64_t upto = connection->answered + (uint64_t)options.pipeline;
    if (upto > connection->limit) upto = connection->limit;
    while (!ending && connection->allowed < upto) {
        uint64_t due = options.rate ? due_ns(connection, connection->allowed) : now;
        if (due > now) break;
        Request *request = &requests[(connection->first + connection->allowed) % request_count];
        connection->sent_bytes_due += request[1].start - request->start;
        connection->sent_ns[connection->allowed % (uint64_t)options.pipeline] = due;
        connection->allowed++;
        in_flight++;
    }
    flush_out(connection);
}

/* Read until nothing is left: the poll tells of new bytes only. */
static void receive(Connection *connection) {
    for (;;) {
        size_t room = INPUT_BYTES - connection->input_bytes;
        ssize_t got = recv(connection->fd, connection->input + connection->input_bytes, room, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) fail(1, "cannot receive: %s", strerror(errno));
        if (!got) fail(1, "a server closed a connection");
        connection->input_bytes += (size_t)got;
        uint64_t now = now_ns();
        split(connection, now);
        refill(connection, now);
        if ((size_t)got < room) return;
    }
}

/* -- the run ------------------------------------------------------------------------------------------------------- */

static int start_ticking(int poll) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec every = {{0, TICK_NS}, {0, TICK_NS}};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) || epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event))
        fail(1, "no timer: %s", strerror(errno));
    return timer;
}

static void refill_all(void) {
    uint64_t now = now_ns();
    for (int number = 0; number < options.connections; number++) refill(&connections[number], now);
}

static int start(char **addresses, int address_count) {
    int poll = epoll_create1(EPOLL_CLOEXEC);
    connections = take((size_t)options.connections, sizeof *connections);
    for (int number = 0; number < options.connections; number++) {
        Connection *connection = &connections[number];
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        open_connection(connection, addresses[number % address_count]);
        place(connection, (uint64_t)number);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event)) fail(1, "epoll: %s", strerror(errno));
    }
    began_sending_ns = now_ns();
    if (options.interval) slice_ends_ns = began_sending_ns + (uint64_t)(options.interval * 1e9);
    refill_all();
    return poll;
}

static void print_latencies(const char *name, const Latencies *of, unsigned kinds) {
    printf("\"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}", name,
           percentile_us(of, kinds, 0.5), percentile_us(of, kinds, 0.9), percentile_us(of, kinds, 0.99),
           percentile_us(of, kinds, 0.999), percentile_us(of, kinds, 1));
}

/* The lines of all intervals that are over by now. */
static void end_slices(uint64_t now) {
    for (; slice_ends_ns && now >= slice_ends_ns; slice_ends_ns += (uint64_t)(options.interval * 1e9)) {
        printf("{\"ended_s\": %.3f, \"successes\": %llu, \"failures\": %llu, ", (double)slice_ends_ns / 1e9,
               (unsigned long long)slice[SUCCESS].count, (unsigned long long)slice[FAILURE].count);
        print_latencies("latency_us", slice, SUCCESSES | FAILURES);
        puts("}");
        memset(slice, 0, sizeof slice);
    }
}

/* Serve the connections until a moment, or until no request is in flight and none is to come. timer: -1: none. */
static void play(int poll, int timer, uint64_t until_ns) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_ns(), last_ns = now, stall_ns = (uint64_t)(options.stall * 1e9), ticks;
    while ((in_flight || (timer >= 0 && !ending)) && now < until_ns) {
        uint64_t wait_ns = last_ns + stall_ns - now;
        if (wait_ns > until_ns - now) wait_ns = until_ns - now;
        int ready = epoll_wait(poll, events, EVENTS_MAX, (int)(wait_ns / 1000000) + 1);
        bool heard = !in_flight;
        if (ready < 0 && errno != EINTR) fail(1, "epoll: %s", strerror(errno));
        for (int number = 0; number < ready; number++) {
            Connection *connection = events[number].data.ptr;
            if (!connection) {
                if (read(timer, &ticks, sizeof ticks) > 0) refill_all();
                continue;
            }
            heard = true;
            if (events[number].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
            if (connection->sent_bytes_due) flush_out(connection);
        }
        now = now_ns();
        end_slices(now);
        if (heard) last_ns = now;
        if (now - last_ns >= stall_ns)
            fail(1, "no answer for %g s; %llu are missing", options.stall, (unsigned long long)in_flight);
    }
}

/* How many requests are due by now and not sent. */
static uint64_t unsent(uint64_t now) {
    uint64_t due = 0;
    for (int number = 0; options.rate && number < options.connections; number++)
        for (uint64_t next = connections[number].allowed; due_ns(&connections[number], next) <= now; next++) due++;
    return due;
}

static void print(double seconds, double cpu, uint64_t ended_ns, uint64_t waiting, uint64_t left) {
    unsigned long long successes = counted[SUCCESS].count, failures = counted[FAILURE].count;
    printf("{\"requests_per_s\": %.1f, \"answers\": %llu, \"successes\": %llu, \"failures\": %llu, ",
           (double)(successes + failures) / seconds, successes + failures, successes, failures);
    printf("\"mismatches\": %llu, \"all_answers\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, ",
           (unsigned long long)mismatches, (unsigned long long)all_answers, seconds, cpu);
    printf("\"ended_s\": %.3f, \"waiting\": %llu, \"unsent\": %llu, ", (double)ended_ns / 1e9,
           (unsigned long long)waiting, (unsigned long long)left);
    print_latencies("latency_us", counted, SUCCESSES | FAILURES);
    fputs(", ", stdout);
    print_latencies("success_us", counted, SUCCESSES);
    fputs(", ", stdout);
    print_latencies("failure_us", counted, FAILURES);
    puts("}");
}

static uint64_t after_ns(uint64_t from_ns, double seconds) { return from_ns + (uint64_t)(seconds * 1e9); }

static void run(char **addresses, int address_count) {
    int poll = start(addresses, address_count);
    int timer = options.rate ? start_ticking(poll) : -1;
    if (!options.once) play(poll, timer, after_ns(now_ns(), options.warmup));
    counting = true;
    uint64_t began_ns = now_ns();
    double cpu = cpu_seconds();
    play(poll, timer, options.once ? UINT64_MAX : after_ns(began_ns, options.seconds));
    uint64_t ended_ns = now_ns(), waiting = in_flight, left = unsent(ended_ns);
    cpu = cpu_seconds() - cpu;
    counting = false;
    ending = true;
    play(poll, timer, UINT64_MAX); /* what is in flight must be answered too, and leaves the next run in peace */
    print((double)(ended_ns - began_ns) / 1e9, cpu, ended_ns, waiting, left);
}

static double number_of(const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (*end || !(value >= least && value <= most)) fail(2, "%s is not between %g and %g", text, least, most);
    return value;
}

static void set_option(int option, const char *text) {
    switch (option) {
    case 'r': options.file = text; break;
    case 'c': options.connections = (int)number_of(text, 1, CONNECTIONS_MAX); break;
    case 'p': options.pipeline = (int)number_of(text, 1, PIPELINE_MAX); break;
    case 's': options.seconds = number_of(text, 0.001, 86400); break;
    case 'w': options.warmup = number_of(text, 0, 86400); break;
    case 't': options.stall = number_of(text, 0.1, 86400); break;
    case 'v': options.value_bytes = (long)number_of(text, 0, 65495); break;
    case 'o': options.once = true; break;
    case 'a': options.rate = number_of(text, 1, 1e7); break;
    case 'i': options.interval = number_of(text, 0.01, 3600); break;
    case 'f':
        options.resp = !strcmp(text, "resp");
        if (!options.resp && strcmp(text, "api")) fail(2, "the protocol is api or resp");
        break;
    default: fail(2, "used wrongly; its source begins with how it is used");
    }
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"requests", required_argument, NULL, 'r'}, {"connections", required_argument, NULL, 'c'},
        {"pipeline", required_argument, NULL, 'p'}, {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},   {"protocol", required_argument, NULL, 'f'},
        {"stall", required_argument, NULL, 't'},    {"value-bytes", required_argument, NULL, 'v'},
        {"once", no_argument, NULL, 'o'},           {"rate", required_argument, NULL, 'a'},
        {"interval", required_argument, NULL, 'i'}, {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) set_option(option, optarg);
    if (!options.file || optind == argc) fail(2, "--requests FILE and a host:port are needed");
    if (options.rate && options.once) fail(2, "--once sends as fast as it can");
    if (options.interval && !options.rate) fail(2, "--interval goes with --rate");
    read_file();
    index_requests();
    run(argv + optind, argc - optind);
    return 0;
}
