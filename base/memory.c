/* malloc and friends that abort when memory runs out.
 * They do not pool: jemalloc does that better. */
#include "base/memory.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void *mem_alloc(size_t size)
{
    void *at = malloc(size ? size : 1);
    CHECK(at && "out of memory");
    return at;
}

void *mem_zalloc(size_t num, size_t size)
{
    void *at = calloc(num ? num : 1, size ? size : 1);
    CHECK(at && "out of memory");
    return at;
}

void *mem_realloc(void *at, size_t num, size_t size)
{
    CHECK(size == 0 || num <= SIZE_MAX / size);
    size_t bytes = num * size;
    void *moved = realloc(at, bytes ? bytes : 1);
    CHECK(moved && "out of memory");
    return moved;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *mem_strndup(const void *at, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len)
        memcpy(copy, at, len);
    copy[len] = '\0';
    return copy;
}

char *mem_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    CHECK(len >= 0 && "out of memory");
    return text;
}
