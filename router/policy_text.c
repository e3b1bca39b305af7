/* Policies as text. Which of them counts is tls/policy.c's to say. */
#include "router/policy_text.h"

#include "base/check.h"

void policy_text_tlsa(struct buffer *out, const struct tlsa_record *record)
{
    buffer_printf(out, "%u %u %u ", record->usage, record->selector, record->matching);
    for (size_t i = 0; i < record->len && i < POLICY_TEXT_TLSA_MAX; i++)
        buffer_printf(out, "%02x", record->data[i]);
}

void policy_text_sts(struct buffer *out, struct buffer *patterns, const struct sts_policy *sts)
{
    buffer_printf(out, "version: STSv1\nmode: %s\n", sts_mode_name(sts->mode));
    for (size_t i = 0; i < sts->num_mx; i++) {
        buffer_printf(out, "mx: %s\n", sts->mx[i]);
        buffer_printf(patterns, "%s%s", i ? "\n" : "", sts->mx[i]);
    }
    buffer_printf(out, "max_age: %lld", (long long)sts->max_age_s);
}

const char *policy_text_string(struct buffer *text)
{
    if (text->len == 0)
        return "";
    /* A full buffer refuses all further octets, the NUL as well. */
    text->overflow = false;
    text->max++;
    CHECK(buffer_append_byte(text, '\0'));
    return (const char *)text->at;
}
