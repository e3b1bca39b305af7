/* Any text as a path, a list and a domain: what is taken is safe on a command line, and its
 * canonical form is read back as itself. */
#include "base/check.h"
#include "queue/address.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const struct address *address)
{
    size_t len = strlen(address->mailbox);
    struct address again;
    const char *why;
    CHECK(len <= ADDRESS_MAILBOX_MAX);
    for (size_t i = 0; i < len; i++)
        CHECK((uint8_t)address->mailbox[i] >= ' ' && address->mailbox[i] != 127);
    if (len) {
        const char *end = address->mailbox + len;
        CHECK(address->domain > address->mailbox + 1 && address->domain < end);
        CHECK(address->domain[-1] == '@' && !strchr(address->domain, '@'));
        for (const char *at = address->domain; *at; at++)
            CHECK((uint8_t)*at > ' ' && (uint8_t)*at < 127);
        CHECK(address->is_literal == (address->domain[0] == '['));
    }
    CHECK(address_parse_path(bytes_of(len ? address->mailbox : "<>"), true, &again, &why));
    CHECK(address_equal(address, &again));
    CHECK(again.needs_utf8 == address->needs_utf8);
    address_fini(&again);
}

static void check_domain(struct bytes text)
{
    char *domain = address_domain_to_ascii(text);
    if (!domain)
        return;
    char *again = address_domain_to_ascii(bytes_of(domain));
    CHECK(again && strcmp(domain, again) == 0);
    free(domain);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_make(data, size);
    struct address address;
    struct address_list list;
    const char *why;
    address_list_init(&list);
    if (address_parse_list(text, 100, &list, &why)) {
        CHECK(list.num <= 100);
        for (size_t i = 0; i < list.num; i++)
            check_address(&list.items[i]);
    } else {
        CHECK(why && list.num == 0);
    }
    address_list_fini(&list);
    if (address_parse_path(text, true, &address, &why)) {
        check_address(&address);
        address_fini(&address);
    } else {
        CHECK(why);
    }
    check_domain(text);
    return 0;
}
