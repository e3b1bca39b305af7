/* sluice-limit: the least that sending a spool of files can cost, as a measure for real senders.
 * It is no mailer: no queue, no retries, no content rules; the first trouble ends it. */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/limit/wire.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    FILE_MAX = 64 * 1024 * 1024,
    COMMANDS_MAX = 64 * 1024, /* room in front of the content for what precedes it */
    RCPT_MAX = 100,
    HOSTS_MAX = 250
};

static const char help[] =
    "Usage: sluice-limit --spool DIR --to ADDRESS:PORT [--tls] [--pipeline] [--no-unlink]\n"
    "                    [--hosts N] [--per-connection] [--no-resume]\n"
    "\n"
    "Sends every file of DIR/new (or DIR) in one thread over one connection a host: open, fstat, "
    "read,\n"
    "close, one send, one recv, unlink. The measure that real senders are compared with.\n"
    "A file begins with an X-Sender: and X-Receiver: lines; the rest must be fit for the wire\n"
    "(CRLF, and with --pipeline no line that begins with a dot).\n"
    "\n"
    "  --tls             STARTTLS; sessions are resumed\n"
    "  --pipeline        MAIL, RCPT, DATA in one send, the content after the 354 in a second one;\n"
    "                    without it all in one flight by BDAT (RFC 3030)\n"
    "  --no-unlink       keep the files\n"
    "  --hosts N         N hosts at ADDRESS and those after it, which take turns; 1 to 250\n"
    "  --per-connection  a new connection for each message\n"
    "  --no-resume       every TLS handshake is a full one\n"
    "\n"
    "Prints JSON: messages, octets, wall and CPU time in microseconds, also per message, and the\n"
    "handshakes. Connecting is included, listing the folder is not.\n";

struct limit {
    struct wire_options options;
    const char *spool;
    bool keep_files;
    bool per_connection;
    int folder_fd;
    char **names; /* owned */
    size_t num_names;
    uint8_t *memory; /* owned: COMMANDS_MAX + FILE_MAX + a final dot */
    uint64_t octets;
    size_t num_hosts;
    struct wire *wires; /* owned, one a host */
};

_Noreturn static void usage(const char *what)
{
    fprintf(stderr, "sluice-limit: %s\nTry sluice-limit --help.\n", what);
    exit(EX_USAGE);
}

static void parse_address(struct limit *limit, const char *text)
{
    struct bytes all = bytes_of(text);
    size_t colon = bytes_find(all, ':');
    char *host = mem_strndup(text, colon);
    uint64_t port;
    limit->options.address.sin_family = AF_INET;
    if (colon == all.len || inet_pton(AF_INET, host, &limit->options.address.sin_addr) != 1 ||
        !bytes_to_u64(bytes_from(all, colon + 1), 65535, &port))
        usage("--to ADDRESS:PORT, an IPv4 address");
    limit->options.address.sin_port = htons((uint16_t)port);
    free(host);
}

static size_t parse_hosts(const char *text)
{
    uint64_t num;
    if (!bytes_to_u64(bytes_of(text), HOSTS_MAX, &num) || num == 0)
        usage("--hosts: 1 to 250");
    return (size_t)num;
}

static void parse_options(struct limit *limit, int argc, char **argv)
{
    static const struct option options[] = {
        {"spool", required_argument, NULL, 's'}, {"to", required_argument, NULL, 't'},
        {"tls", no_argument, NULL, 'T'},         {"pipeline", no_argument, NULL, 'p'},
        {"no-unlink", no_argument, NULL, 'k'},   {"per-connection", no_argument, NULL, 'c'},
        {"hosts", required_argument, NULL, 'n'}, {"no-resume", no_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            limit->spool = optarg;
            break;
        case 't':
            parse_address(limit, optarg);
            break;
        case 'T':
            limit->options.tls = true;
            break;
        case 'p':
            limit->options.pipelining = true;
            break;
        case 'k':
            limit->keep_files = true;
            break;
        case 'c':
            limit->per_connection = true;
            break;
        case 'n':
            limit->num_hosts = parse_hosts(optarg);
            break;
        case 'r':
            limit->options.no_resume = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(EX_OK);
        default:
            usage("unknown option or missing value");
        }
    }
    if (optind < argc || !limit->spool || !limit->options.address.sin_port)
        usage("--spool and --to are needed, and nothing else");
}

static void list_files(struct limit *limit)
{
    char *path = mem_printf("%s/new", limit->spool);
    DIR *dir = opendir(path);
    if (!dir)
        dir = opendir(limit->spool);
    if (!dir)
        wire_fail(limit->spool, bytes_of(strerror(errno)));
    limit->folder_fd = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 0);
    CHECK(limit->folder_fd >= 0);
    size_t cap = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
            continue;
        if (limit->num_names == cap) {
            cap = cap ? cap * 2 : 1024;
            limit->names = mem_realloc(limit->names, cap, sizeof *limit->names);
        }
        limit->names[limit->num_names++] = mem_strdup(entry->d_name);
    }
    closedir(dir);
    free(path);
}

static struct bytes read_file(struct limit *limit, const char *name)
{
    struct stat info;
    int fd = openat(limit->folder_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > FILE_MAX)
        wire_fail(name, bytes_of("no file that can be sent"));
    ssize_t len = read(fd, limit->memory + COMMANDS_MAX, (size_t)info.st_size);
    close(fd);
    if (len != info.st_size)
        wire_fail(name, bytes_of("not read as a whole"));
    return bytes_make(limit->memory + COMMANDS_MAX, (size_t)len);
}

static struct bytes take_line(struct bytes *text)
{
    size_t end = bytes_find(*text, '\n');
    struct bytes line = bytes_trim(bytes_first(*text, end));
    *text = bytes_from(*text, end + 1);
    return line;
}

/* Takes the envelope off the front of the file and writes it as commands. */
static unsigned compose(struct limit *limit, const char *name, struct bytes *content,
                        struct buffer *commands)
{
    unsigned recipients = 0;
    buffer_clear(commands);
    for (;;) {
        struct bytes rest = *content;
        struct bytes line = take_line(&rest);
        bool sender = bytes_starts_nocase(line, "X-Sender:");
        bool receiver = bytes_starts_nocase(line, "X-Receiver:");
        if (!sender && !receiver)
            break;
        struct bytes address = bytes_trim(bytes_from(line, sender ? 9 : 11));
        bool bare = address.len == 0 || *address.at != '<';
        buffer_append_str(commands, sender ? "MAIL FROM:" : "RCPT TO:");
        buffer_append_str(commands, bare ? "<" : "");
        buffer_append_bytes(commands, address);
        buffer_append_str(commands, bare ? ">\r\n" : "\r\n");
        recipients += receiver;
        *content = rest;
    }
    if (limit->options.pipelining)
        buffer_append_str(commands, "DATA\r\n");
    else
        buffer_printf(commands, "BDAT %zu LAST\r\n", content->len);
    if (recipients == 0 || recipients > RCPT_MAX || commands->overflow)
        wire_fail(name, bytes_of("no usable X-Sender and X-Receiver lines"));
    return recipients;
}

static void send_file(struct limit *limit, struct wire *wire, const char *name,
                      struct buffer *commands)
{
    struct bytes content = read_file(limit, name);
    unsigned recipients = compose(limit, name, &content, commands);
    uint8_t *start = limit->memory + (content.at - limit->memory);
    limit->octets += content.len;
    if (limit->options.pipelining) {
        wire_send(wire, buffer_bytes(commands));
        memcpy(start + content.len, ".\r\n", 3);
        content.len += 3;
    } else {
        /* In front of the content, where the envelope lines and the headroom were. */
        start -= commands->len;
        memcpy(start, commands->at, commands->len);
        content = bytes_make(start, commands->len + content.len);
        wire_send(wire, content);
    }
    wire_expect(wire, '2', "MAIL");
    for (unsigned i = 0; i < recipients; i++)
        wire_expect(wire, '2', "RCPT");
    if (limit->options.pipelining) {
        wire_expect(wire, '3', "DATA");
        wire_send(wire, content);
    }
    wire_expect(wire, '2', "content");
    if (!limit->keep_files && unlinkat(limit->folder_fd, name, 0) != 0)
        wire_fail(name, bytes_of(strerror(errno)));
}

static void open_host(struct limit *limit, size_t host)
{
    struct wire_options options = limit->options;
    uint32_t first = ntohl(options.address.sin_addr.s_addr);
    options.address.sin_addr.s_addr = htonl(first + (uint32_t)host);
    wire_open(&limit->wires[host], &options);
}

static void send_all_files(struct limit *limit)
{
    struct buffer commands;
    buffer_init(&commands, COMMANDS_MAX);
    for (size_t i = 0; i < limit->num_names; i++) {
        size_t host = i % limit->num_hosts;
        if (i < limit->num_hosts || limit->per_connection)
            open_host(limit, host);
        send_file(limit, &limit->wires[host], limit->names[i], &commands);
        if (limit->per_connection || i + limit->num_hosts >= limit->num_names)
            wire_close(&limit->wires[host]);
    }
    buffer_fini(&commands);
}

static double microseconds(struct timeval from, struct timeval to)
{
    return (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_usec - from.tv_usec);
}

static void report(const struct limit *limit, const struct rusage *before, double wall_us)
{
    struct rusage after;
    getrusage(RUSAGE_SELF, &after);
    double user_us = microseconds(before->ru_utime, after.ru_utime);
    double system_us = microseconds(before->ru_stime, after.ru_stime);
    double num = limit->num_names ? (double)limit->num_names : 1;
    unsigned long full = 0;
    unsigned long resumed = 0;
    for (size_t i = 0; i < limit->num_hosts; i++) {
        full += limit->wires[i].full_handshakes;
        resumed += limit->wires[i].resumed_handshakes;
    }
    printf("{\"messages\": %zu, \"octets\": %llu, \"wall_us\": %.0f, \"user_us\": %.0f, "
           "\"system_us\": %.0f,\n \"wall_us_per_message\": %.2f, \"user_us_per_message\": %.2f, "
           "\"system_us_per_message\": %.2f, \"cpu_us_per_message\": %.2f,\n "
           "\"handshakes_full\": %lu, \"handshakes_resumed\": %lu}\n",
           limit->num_names, (unsigned long long)limit->octets, wall_us, user_us, system_us,
           wall_us / num, user_us / num, system_us / num, (user_us + system_us) / num, full,
           resumed);
}

int main(int argc, char **argv)
{
    static struct limit limit = {.num_hosts = 1};
    struct rusage before;
    parse_options(&limit, argc, argv);
    list_files(&limit);
    limit.memory = mem_alloc(COMMANDS_MAX + FILE_MAX + sizeof ".\r\n");
    limit.wires = mem_zalloc(limit.num_hosts, sizeof *limit.wires);
    for (size_t i = 0; i < limit.num_hosts; i++)
        wire_init(&limit.wires[i], &limit.options);
    getrusage(RUSAGE_SELF, &before);
    int64_t start_us = clock_mono_us();
    send_all_files(&limit);
    report(&limit, &before, (double)(clock_mono_us() - start_us));
    for (size_t i = 0; i < limit.num_hosts; i++)
        wire_fini(&limit.wires[i]);
    free(limit.wires);
    for (size_t i = 0; i < limit.num_names; i++)
        free(limit.names[i]);
    free(limit.names);
    free(limit.memory);
    close(limit.folder_fd);
    return EX_OK;
}
