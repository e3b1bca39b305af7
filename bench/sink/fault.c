/* From "rcpt:delay=200:for=@x.test" or a line of a script to a struct.
 * What a fault does to a session is in session_fault.c. */
#include "bench/sink/fault.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>

enum {
    HOUR_MS = 3600 * 1000,
    GARBAGE_MAX = 1024 * 1024,
    COUNT_MAX = 1000 * 1000 * 1000,
    CODE_MIN = 400,
    CODE_MAX = 599
};

static const struct stage {
    const char *name;
    enum fault_stage stage;
} stages[] = {
    {"banner", FAULT_BANNER},   {"ehlo", FAULT_EHLO},   {"starttls", FAULT_STARTTLS},
    {"mail", FAULT_MAIL},       {"rcpt", FAULT_RCPT},   {"data", FAULT_DATA},
    {"content", FAULT_CONTENT}, {"final", FAULT_FINAL},
};

/* min 0 and max 0: takes no number. usual 0: a number must be given. */
static const struct action {
    const char *name;
    enum fault_action action;
    unsigned min, max, usual;
} actions[] = {
    {"delay", FAULT_DELAY, 1, HOUR_MS, 0},
    {"stall", FAULT_STALL, 0, 0, 0},
    {"close", FAULT_CLOSE, 0, 0, 0},
    {"reset", FAULT_RESET, 0, 0, 0},
    {"split", FAULT_SPLIT, 1, HOUR_MS, 1},
    {"garbage", FAULT_GARBAGE, 1, GARBAGE_MAX, 64},
    {"reply", FAULT_REPLY, CODE_MIN, CODE_MAX, 0},
    {"inject", FAULT_INJECT, 0, 0, 0},
};

static bool parse_number(const char *text, unsigned max, unsigned *out)
{
    uint64_t number;
    if (!bytes_to_u64(bytes_of(text), max, &number))
        return false;
    *out = (unsigned)number;
    return true;
}

static bool parse_stage(struct fault *fault, const char *word)
{
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (strcmp(word, stages[i].name) == 0)
            fault->stage = stages[i].stage;
    }
    return fault->stage != FAULT_NOWHERE;
}

static bool parse_action(struct fault *fault, const char *word, const char *value)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        const struct action *action = &actions[i];
        if (strcmp(word, action->name) != 0)
            continue;
        fault->action = action->action;
        fault->number = action->usual;
        if (!value)
            return action->max == 0 || action->usual > 0;
        return action->max > 0 && parse_number(value, action->max, &fault->number) &&
               fault->number >= action->min;
    }
    return false;
}

static bool parse_condition(struct fault *fault, const char *word, const char *value)
{
    if (!value)
        return false;
    if (strcmp(word, "times") == 0)
        return parse_number(value, COUNT_MAX, &fault->times) && fault->times > 0;
    if (strcmp(word, "after") == 0)
        return parse_number(value, COUNT_MAX, &fault->after);
    if (strcmp(word, "for") != 0 || fault->pattern || !strchr(value, '@'))
        return false;
    fault->pattern = mem_strdup(value);
    return true;
}

/* What would never happen is refused: content has no reply, and the earlier stages no address. */
static bool makes_sense(const struct fault *fault)
{
    if (fault->stage == FAULT_CONTENT)
        return fault->action == FAULT_DELAY || fault->action == FAULT_STALL ||
               fault->action == FAULT_CLOSE || fault->action == FAULT_RESET;
    return !fault->pattern || fault->stage >= FAULT_MAIL;
}

static bool parse(struct fault *fault, char *text, const char *separators)
{
    unsigned num_words = 0;
    char *word;
    while ((word = strsep(&text, separators)) != NULL) {
        if (*word == '\0')
            continue;
        char *value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        bool ok = num_words == 0   ? !value && parse_stage(fault, word)
                  : num_words == 1 ? parse_action(fault, word, value)
                                   : parse_condition(fault, word, value);
        if (!ok)
            return false;
        num_words++;
    }
    return num_words >= 2 && makes_sense(fault);
}

bool faults_add(struct faults *faults, char *text, const char *separators)
{
    struct fault fault = {0};
    if (faults->num == FAULTS_MAX || !parse(&fault, text, separators)) {
        free(fault.pattern);
        return false;
    }
    faults->at = mem_realloc(faults->at, faults->num + 1, sizeof *faults->at);
    faults->at[faults->num++] = fault;
    return true;
}

static bool load_lines(struct faults *faults, char *text)
{
    char *line;
    while ((line = strsep(&text, "\n")) != NULL) {
        line[strcspn(line, "#\r")] = '\0';
        if (line[strspn(line, " \t")] != '\0' && !faults_add(faults, line, " \t"))
            return false;
    }
    return true;
}

bool faults_load(struct faults *faults, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *text = mem_zalloc(FAULT_SCRIPT_MAX + 1, 1);
    size_t len = fread(text, 1, FAULT_SCRIPT_MAX, file);
    bool ok = !ferror(file) && len < FAULT_SCRIPT_MAX;
    fclose(file);
    errno = EINVAL;
    ok = ok && load_lines(faults, text);
    free(text);
    return ok;
}

void faults_fini(struct faults *faults)
{
    for (size_t i = 0; i < faults->num; i++)
        free(faults->at[i].pattern);
    free(faults->at);
    *faults = (struct faults){0};
}

bool fault_pattern_fits(const char *pattern, struct bytes address)
{
    struct bytes wanted = bytes_of(pattern);
    if (*pattern != '@')
        return bytes_equal_nocase(wanted, address);
    return address.len >= wanted.len &&
           bytes_equal_nocase(wanted, bytes_from(address, address.len - wanted.len));
}
