/* Mechanisms by name, and the file that holds a secret.
 * It says nothing of when a secret may be sent: smtp_auth.c does. */
#include "router/auth_settings.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/mem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    enum auth_mechanism mechanism;
    const char *name;
} mechanisms[] = {
    {AUTH_SCRAM_SHA_256, "SCRAM-SHA-256"}, {AUTH_PLAIN, "PLAIN"}, {AUTH_LOGIN, "LOGIN"}};

enum { NUM_MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

uint8_t auth_mechanism_parse(struct bytes name)
{
    for (size_t i = 0; i < NUM_MECHANISMS; i++)
        if (bytes_equal_nocase(name, bytes_of(mechanisms[i].name)))
            return (uint8_t)mechanisms[i].mechanism;
    return 0;
}

const char *auth_mechanism_name(enum auth_mechanism mechanism)
{
    for (size_t i = 0; i < NUM_MECHANISMS; i++)
        if (mechanisms[i].mechanism == mechanism)
            return mechanisms[i].name;
    return "";
}

bool auth_mechanisms_parse(const char *text, uint8_t *out)
{
    uint8_t found = 0;
    while (*(text += strspn(text, " "))) {
        size_t len = strcspn(text, " ");
        uint8_t bit = auth_mechanism_parse(bytes_make(text, len));
        if (!bit)
            return false;
        found |= bit;
        text += len;
    }
    *out = found;
    return found != 0;
}

enum auth_mechanism auth_mechanism_best(uint8_t offered)
{
    for (size_t i = 0; i < NUM_MECHANISMS; i++)
        if (offered & mechanisms[i].mechanism)
            return mechanisms[i].mechanism;
    return AUTH_LOGIN;
}

static bool same_secret(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool auth_settings_equal(const struct auth_settings *a, const struct auth_settings *b)
{
    return strcmp(a->user, b->user) == 0 && same_secret(a->secret, b->secret) &&
           a->mechanisms == b->mechanisms && a->allow_unverified == b->allow_unverified;
}

/* NULL: fit for a secret. */
static const char *judge_file(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "is no regular file, expected one";
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return "belongs to somebody else, expected root or the user that sluice runs as";
    if (st->st_mode & (S_IRWXG | S_IRWXO))
        return "is open to group or others, expected mode 0600 or 0400";
    return NULL;
}

/* NULL: one line of printable ASCII, whose length is *out_len. */
static const char *judge_text(const char *text, size_t len, size_t *out_len)
{
    if (len && text[len - 1] == '\n')
        len--;
    if (len && text[len - 1] == '\r')
        len--;
    if (!len || len > AUTH_SECRET_MAX)
        return "holds no secret, expected one line of 1 to 255 octets";
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return "holds more than a secret, expected one line of printable ASCII";
    *out_len = len;
    return NULL;
}

static char *read_secret(int fd, char why[AUTH_WHY_MAX])
{
    char text[AUTH_SECRET_MAX + 3]; /* CR LF, and one octet to see that there is more */
    char *secret = NULL;
    size_t secret_len = 0;
    struct stat st;
    const char *problem = fstat(fd, &st) == 0 ? judge_file(&st) : "cannot be looked at";
    ssize_t len = problem ? 0 : read(fd, text, sizeof text);
    if (len < 0)
        problem = "cannot be read";
    if (!problem)
        problem = judge_text(text, (size_t)len, &secret_len);
    if (problem)
        snprintf(why, AUTH_WHY_MAX, "%s", problem);
    else
        secret = mem_strndup(text, secret_len);
    OPENSSL_cleanse(text, sizeof text);
    return secret;
}

char *auth_secret_read(const char *path, char why[AUTH_WHY_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        snprintf(why, AUTH_WHY_MAX, "cannot be opened: %s, expected a file with the secret",
                 strerror(errno));
        return NULL;
    }
    char *secret = read_secret(fd, why);
    close(fd);
    return secret;
}

void auth_secret_free(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}
