/* Any text as a configuration: it is refused with "file:line: ..., expected ...", or what is
 * printed of it reads back to the same. */
#include "base/check.h"
#include "base/memory.h"
#include "router/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_into(const struct config *config, struct buffer *out)
{
    buffer_init(out, 64 * 1024 * 1024);
    config_print(config, out);
    buffer_append_byte(out, 0);
    CHECK(!out->overflow);
}

static void check_round_trip(const struct config *config)
{
    char why[CONFIG_WHY_MAX];
    struct buffer first;
    struct buffer second;
    print_into(config, &first);
    struct config *again = config_parse((const char *)first.at, "printed", why);
    CHECK(again);
    print_into(again, &second);
    CHECK(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    buffer_fini(&first);
    buffer_fini(&second);
    config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[CONFIG_WHY_MAX] = "";
    char *text = mem_strndup(data, size);
    struct config *config = config_parse(text, "fuzz.conf", why);
    if (config) {
        CHECK(config->workers >= 1);
        CHECK(config_for_domain(config, "a.example.net")->connections >= 1);
        CHECK(config_for_domain(config, "[192.0.2.1]")->port >= 1);
        check_round_trip(config);
    } else {
        CHECK(strncmp(why, "fuzz.conf:", strlen("fuzz.conf:")) == 0 && strstr(why, "expected "));
    }
    config_free(config);
    free(text);
    return 0;
}
