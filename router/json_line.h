/* Writes one JSON object on one line, straight into a buffer.
 *
 * For the records of the hot path, one per attempt: a tree of a JSON library costs several times as
 * much for the same line. Whatever octets go in, the line is valid UTF-8 without control
 * characters. Pure; any thread. */
#ifndef SLUICE_ROUTER_JSON_LINE_H
#define SLUICE_ROUTER_JSON_LINE_H

#include "base/bytes.h"

struct json_line {
    struct buffer *out; /* borrowed */
    bool needs_comma;
};

/* "{" */
void json_line_begin(struct json_line *json, struct buffer *out);
/* "}\n" */
void json_line_end(struct json_line *json);

/* key: our own, needs no escape. NULL in an array. */
void json_line_text(struct json_line *json, const char *key, const char *text); /* NULL: null */
void json_line_bytes(struct json_line *json, const char *key, struct bytes text);
void json_line_number(struct json_line *json, const char *key, uint64_t number);
/* Thousandths: 12345 is 12.345. */
void json_line_milli(struct json_line *json, const char *key, int64_t thousandths);
void json_line_truth(struct json_line *json, const char *key, bool truth);
void json_line_null(struct json_line *json, const char *key);
/* RFC 3339 in UTC with milliseconds. */
void json_line_time(struct json_line *json, const char *key, int64_t wall_us);
void json_line_open(struct json_line *json, const char *key, char bracket); /* '{' or '[' */
void json_line_close(struct json_line *json, char bracket);                 /* '}' or ']' */

/* "2026-01-02T03:04:05.678Z"; years outside 1970 .. 9999 are clamped. */
enum { WALL_TIME_LEN = 24 };
void wall_time_format(int64_t wall_us, char out[WALL_TIME_LEN + 1]);
/* Appends text as the inside of a JSON string. */
void json_escape(struct bytes text, struct buffer *out);
/* Length of the UTF-8 character that text begins with; 0 when it begins with none. */
size_t utf8_char_len(struct bytes text);

#endif
