/* A configuration's text before libConfuse sees it: checked and put into a plain form.
 *
 * libConfuse 3.3 counts lines that end in a comment twice, takes an open comment or section for
 * the end of the file, and puts environment variables into strings. So comments are dropped here
 * (lines are kept), strings are decoded and written again in a form with one meaning, and what is
 * not closed is refused. Pure; any thread. */
#ifndef SLUICE_ROUTER_CONFIG_SYNTAX_H
#define SLUICE_ROUTER_CONFIG_SYNTAX_H

#include "base/bytes.h"

enum {
    CONFIG_TEXT_MAX = 4 * 1024 * 1024, /* octets of a file */
    CONFIG_STRING_MAX = 4096,          /* octets of a word or string */
    CONFIG_DEPTH_MAX = 4,              /* sections and lists within each other */
    CONFIG_DESTINATIONS_MAX = 10000
};

struct config_syntax {
    struct buffer text;    /* owned: what libConfuse gets, NUL-terminated */
    unsigned *title_lines; /* owned: where each top-level `destination` stands */
    size_t num_titles;
    unsigned error_line; /* of why */
    const char *why;     /* static: the problem and what was expected; NULL: none */
};

/* false with error_line and why set. Call config_syntax_fini() in both cases. */
bool config_syntax_read(struct config_syntax *syntax, struct bytes text)
    __attribute__((warn_unused_result));
void config_syntax_fini(struct config_syntax *syntax);

#endif
