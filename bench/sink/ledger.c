/* One write(2) a line on a descriptor that appends, so that lines of several threads do not mix.
 * It buffers and syncs nothing. */
#include "bench/sink/ledger.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sysexits.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 1024 * 1024 };

struct ledger {
    int fd;
    bool times;
    _Atomic uint64_t number;
};

struct ledger *ledger_open(const char *path, bool times)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return NULL;
    struct ledger *ledger = mem_zalloc(1, sizeof *ledger);
    ledger->fd = fd;
    ledger->times = times;
    return ledger;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    close(ledger->fd);
    free(ledger);
}

static void write_line(struct ledger *ledger, const struct buffer *line)
{
    ssize_t written;
    do {
        written = write(ledger->fd, line->at, line->len);
    } while (written < 0 && errno == EINTR);
    if (line->overflow || written != (ssize_t)line->len) {
        log_error("the ledger cannot be written: %s",
                  line->overflow ? "a line is too long" : strerror(errno));
        _exit(EX_IOERR);
    }
}

/* A word of the line: whatever a stranger sent, it neither splits nor ends it. */
static void append_word(struct buffer *line, struct bytes word)
{
    for (size_t i = 0; i < word.len; i++) {
        uint8_t octet = word.at[i];
        buffer_append_byte(line, octet > ' ' && octet < 0x7f ? octet : '?');
    }
}

static struct bytes id_word(struct bytes id)
{
    if (id.len >= 2 && id.at[0] == '<' && id.at[id.len - 1] == '>')
        id = bytes_make(id.at + 1, id.len - 2);
    return id.len ? id : bytes_of("-");
}

uint64_t ledger_write_dot(struct ledger *ledger, const struct ledger_dot *dot)
{
    uint64_t number = atomic_fetch_add(&ledger->number, 1) + 1;
    const char *recipient = dot->recipients;
    struct buffer line;
    buffer_init(&line, LINE_MAX_LEN);
    buffer_printf(&line, "dot %llu %u ", (unsigned long long)number, dot->code);
    append_word(&line, id_word(dot->id));
    for (unsigned i = 0; i < dot->num_recipients; i++, recipient += strlen(recipient) + 1) {
        buffer_append_byte(&line, ' ');
        append_word(&line, bytes_of(recipient));
    }
    buffer_append_byte(&line, '\n');
    write_line(ledger, &line);
    buffer_fini(&line);
    return number;
}

void ledger_write_reply(struct ledger *ledger, uint64_t number)
{
    struct buffer line;
    buffer_init(&line, LINE_MAX_LEN);
    buffer_printf(&line, "reply %llu", (unsigned long long)number);
    if (ledger->times)
        buffer_printf(&line, " %lld", (long long)clock_mono_us());
    buffer_append_byte(&line, '\n');
    write_line(ledger, &line);
    buffer_fini(&line);
}
