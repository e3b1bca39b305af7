/* CHECK(): the programmer's errors. Always on, also in release; aborts with file and line.
 * Never used for what the system or the world may do. */
#ifndef SLUICE_BASE_CHECK_H
#define SLUICE_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#endif
