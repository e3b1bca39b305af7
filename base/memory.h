/* Allocation that cannot fail: running out of memory aborts, bounds come from admission.
 * Any thread. Freed with free(). */
#ifndef SLUICE_BASE_MEMORY_H
#define SLUICE_BASE_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
/* num * size zeroed bytes; an overflow of the product aborts. */
void *mem_zalloc(size_t num, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *at, size_t num, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
/* A NUL-terminated copy of len bytes. */
char *mem_strndup(const void *at, size_t len) __attribute__((malloc, returns_nonnull));
char *mem_printf(const char *format, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
