/* What a listener breaks on purpose: at which stage of a session, how, for whom, how often.
 *
 * Faults are parsed once and immutable; how often each was due is counted in sink.h. No I/O but for
 * reading a script. --help has the grammar. */
#ifndef SLUICE_BENCH_SINK_FAULT_H
#define SLUICE_BENCH_SINK_FAULT_H

#include "base/bytes.h"

enum { FAULTS_MAX = 64, FAULT_SCRIPT_MAX = 64 * 1024 };

enum fault_stage {
    FAULT_NOWHERE,
    FAULT_BANNER,
    FAULT_EHLO, /* EHLO, HELO, LHLO */
    FAULT_STARTTLS,
    FAULT_MAIL,
    FAULT_RCPT,
    FAULT_DATA,
    FAULT_CONTENT, /* its first octets have arrived */
    FAULT_FINAL    /* the final dot or the LAST chunk was taken and judged */
};

enum fault_action {
    FAULT_DELAY,
    FAULT_STALL,
    FAULT_CLOSE,
    FAULT_RESET,
    FAULT_SPLIT,
    FAULT_GARBAGE,
    FAULT_REPLY,
    FAULT_INJECT
};

struct fault {
    enum fault_stage stage;
    enum fault_action action;
    unsigned number; /* of the action: ms, octets or a reply code */
    unsigned after;  /* spares the first ones */
    unsigned times;  /* how often then; 0: always */
    char *pattern;   /* owned: address or "@domain"; NULL: everybody */
};

struct faults {
    struct fault *at; /* owned */
    size_t num;
};

/* One fault, its words separated by any of `separators`. Changes text. false: not understood, or
 * too many. */
bool faults_add(struct faults *faults, char *text, const char *separators)
    __attribute__((warn_unused_result));
/* Lines of a file, "#" begins a comment. false: errno is set, or a line is not understood (EINVAL).
 */
bool faults_load(struct faults *faults, const char *path) __attribute__((warn_unused_result));
void faults_fini(struct faults *faults);
/* "a@b.test" fits itself, "@b.test" all of the domain. */
bool fault_pattern_fits(const char *pattern, struct bytes address);

#endif
