/* Log lines from any thread, written by one thread of its own, so that nobody waits for a disk or a
 * pipe.
 *
 * Two kinds: notes for the operator (stderr, one line each), and files of records that other
 * programs read (delivery log, transcripts). Before log_start() and after log_stop() both are
 * written at once by the caller, so that start-up errors and tools need no thread. Lines of one
 * thread keep their order. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include "base/bytes.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

struct log_file;

/* false with errno set when the thread cannot be made. */
bool log_start(void) __attribute__((warn_unused_result));
/* Writes what is queued and ends the thread. */
void log_stop(void);
void log_set_level(enum log_level least);
bool log_wants(enum log_level level);

/* "level: text\n" on stderr. Control characters in what a stranger sent are masked. */
void log_note(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...)                                                                             \
    (log_wants(LOG_LEVEL_DEBUG) ? log_note(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_note(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_note(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_note(LOG_LEVEL_ERROR, __VA_ARGS__)

/* path: appended to, made with mode 0640; "-" is stdout. NULL with errno set on failure. What is
 * written begins a line of its own, also behind half a line that a crash or a full disk left. */
struct log_file *log_file_open(const char *path) __attribute__((warn_unused_result));
/* After log_stop() only. */
void log_file_close(struct log_file *file);
/* Copies the bytes (whole lines) and queues them. A failed write is noted once per minute and
 * counted; the lines concerned are lost, deliveries go on. */
void log_file_write(struct log_file *file, struct bytes lines);

#endif
