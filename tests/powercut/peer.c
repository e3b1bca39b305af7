/* A small SMTP receiver, a thread for each connection. It keeps nothing but notes. */
#include "tests/powercut/peer.h"

#include "base/check.h"
#include "base/memory.h"
#include "tests/powercut/message.h"
#include "tests/powercut/simulated_calls.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 2048, RECIPIENTS_MAX = 16, SEEN_MAX = 4096, ADDRESS_MAX = 200 };

struct dialogue {
    int fd;
    struct buffer in;
    char recipients[RECIPIENTS_MAX][ADDRESS_MAX];
    unsigned num_recipients;
    bool null_sender;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char seen[SEEN_MAX][ADDRESS_MAX];
static unsigned num_seen;

void peer_forget(void)
{
    pthread_mutex_lock(&mutex);
    num_seen = 0;
    pthread_mutex_unlock(&mutex);
}

/* Whether it has been seen less than `times` times before. */
static bool is_early(const char *address, unsigned times)
{
    unsigned before = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < num_seen; i++)
        before += strcmp(seen[i], address) == 0;
    CHECK(num_seen < SEEN_MAX);
    snprintf(seen[num_seen++], ADDRESS_MAX, "%s", address);
    pthread_mutex_unlock(&mutex);
    return before < times;
}

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool say(struct dialogue *dialogue, const char *reply)
{
    return send(dialogue->fd, reply, strlen(reply), MSG_NOSIGNAL) == (ssize_t)strlen(reply);
}

/* One line without its end; false at the end of the connection. */
static bool hear(struct dialogue *dialogue, char line[LINE_MAX_LEN])
{
    for (;;) {
        size_t end = bytes_find(buffer_bytes(&dialogue->in), '\n');
        if (end < dialogue->in.len) {
            size_t len = end && dialogue->in.at[end - 1] == '\r' ? end - 1 : end;
            len = len < LINE_MAX_LEN - 1 ? len : LINE_MAX_LEN - 1;
            memcpy(line, dialogue->in.at, len);
            line[len] = '\0';
            buffer_consume(&dialogue->in, end + 1);
            return true;
        }
        uint8_t *at = buffer_reserve(&dialogue->in, 16384);
        ssize_t n = at ? recv(dialogue->fd, at, 16384, 0) : 0;
        if (n <= 0)
            return false;
        dialogue->in.len += (size_t)n;
    }
}

static void address_in(const char *line, char out[ADDRESS_MAX])
{
    const char *open = strchr(line, '<');
    const char *end = open ? strchr(open, '>') : NULL;
    snprintf(out, ADDRESS_MAX, "%.*s", end ? (int)(end - open - 1) : 0, open ? open + 1 : "");
}

static bool on_recipient(struct dialogue *dialogue, const char *line)
{
    char address[ADDRESS_MAX];
    address_in(line, address);
    if (starts(address, "no-"))
        return say(dialogue, "550 5.1.1 nobody of that name\r\n");
    if ((starts(address, "later-") && is_early(address, 1)) ||
        (starts(address, "wait-") && is_early(address, 8)))
        return say(dialogue, "451 4.3.2 later\r\n");
    CHECK(dialogue->num_recipients < RECIPIENTS_MAX);
    snprintf(dialogue->recipients[dialogue->num_recipients++], ADDRESS_MAX, "%s", address);
    return say(dialogue, "250 2.1.5 well\r\n");
}

static void note_told(void *ctx, const char *address)
{
    *(bool *)ctx = true;
    simulated_note(EVENT_TOLD, address);
}

static bool on_content(struct dialogue *dialogue)
{
    char line[LINE_MAX_LEN];
    struct buffer content;
    bool is_dsn = false, cut = false;
    buffer_init(&content, 16 * 1024 * 1024);
    bool ok = say(dialogue, "354 go on\r\n");
    while (ok && (ok = hear(dialogue, line)) && strcmp(line, ".") != 0)
        ok = buffer_printf(&content, "%s\n", line);
    if (ok && starts(dialogue->recipients[0], "dotno-")) {
        buffer_fini(&content);
        return say(dialogue, "554 5.6.0 not that\r\n");
    }
    if (ok && dialogue->null_sender)
        message_each_reported(buffer_bytes(&content), note_told, &is_dsn);
    for (unsigned i = 0; ok && i < dialogue->num_recipients; i++) {
        if (!is_dsn)
            simulated_note(EVENT_ACCEPTED, dialogue->recipients[i]);
        cut |= starts(dialogue->recipients[i], "cut-") && is_early(dialogue->recipients[i], 1);
    }
    buffer_fini(&content);
    return ok && !cut && say(dialogue, "250 2.0.0 taken\r\n");
}

static bool on_line(struct dialogue *dialogue, const char *line)
{
    char address[ADDRESS_MAX];
    if (starts(line, "EHLO"))
        return say(dialogue, "250-peer\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
    if (starts(line, "MAIL")) {
        address_in(line, address);
        dialogue->null_sender = address[0] == '\0';
        dialogue->num_recipients = 0;
        return say(dialogue, "250 2.1.0 well\r\n");
    }
    if (starts(line, "RCPT"))
        return on_recipient(dialogue, line);
    if (starts(line, "DATA"))
        return dialogue->num_recipients ? on_content(dialogue)
                                        : say(dialogue, "554 5.5.1 nobody to send to\r\n");
    if (starts(line, "QUIT")) {
        say(dialogue, "221 2.0.0 bye\r\n");
        return false;
    }
    return say(dialogue, "250 2.0.0 well\r\n");
}

static void *converse(void *ctx)
{
    struct dialogue *dialogue = ctx;
    char line[LINE_MAX_LEN];
    bool goes_on = say(dialogue, "220 peer\r\n");
    while (goes_on && hear(dialogue, line))
        goes_on = on_line(dialogue, line);
    close(dialogue->fd);
    buffer_fini(&dialogue->in);
    free(dialogue);
    return NULL;
}

static void *accept_all(void *ctx)
{
    int listener = (int)(intptr_t)ctx;
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(fd >= 0);
        struct dialogue *dialogue = mem_zalloc(1, sizeof *dialogue);
        dialogue->fd = fd;
        buffer_init(&dialogue->in, 16 * 1024 * 1024);
        CHECK(pthread_create(&thread, NULL, converse, dialogue) == 0);
        pthread_detach(thread);
    }
}

uint16_t peer_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(fd, 128) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    CHECK(pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)fd) == 0);
    pthread_detach(thread);
    return ntohs(address.sin_port);
}
