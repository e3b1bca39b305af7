/* The cache of MTA-STS policies as text:
 *   sluice MTA-STS cache 1
 *   DOMAIN ID MODE MAX_AGE FETCHED [MX...]
 *   sha256 HEX      of all lines above
 * The least recently used comes first, so that reading restores the order. */
#include "base/memory.h"
#include "dns/domain_name.h"
#include "tls/sts_cache_private.h"

#include <openssl/sha.h>

static const char head[] = "sluice MTA-STS cache 1\n";
static const char sum_word[] = "sha256 ";

enum { SUM_LINE_LEN = sizeof sum_word - 1 + 2 * SHA256_DIGEST_LENGTH + 1 };

static void write_sum(struct bytes text, char out[SUM_LINE_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(text.at, text.len, digest);
    memcpy(out, sum_word, sizeof sum_word - 1);
    char *to = out + sizeof sum_word - 1;
    for (size_t i = 0; i < sizeof digest; i++) {
        *to++ = digits[digest[i] >> 4];
        *to++ = digits[digest[i] & 15];
    }
    *to++ = '\n';
    *to = '\0';
}

void sts_cache_write(const struct sts_cache *cache, int64_t now_s, struct buffer *out)
{
    char sum[SUM_LINE_LEN + 1];
    buffer_append_str(out, head);
    for (struct digest_lru_node *node = cache->lru.oldest; node; node = node->newer) {
        const struct sts_entry *entry = container_of(node, struct sts_entry, node);
        const struct sts_policy *policy = entry->policy;
        if (!sts_entry_is_alive(entry, now_s))
            continue;
        buffer_printf(out, "%s %s %s %lld %lld", entry->domain, policy->id,
                      sts_mode_name(policy->mode), (long long)policy->max_age_s,
                      (long long)entry->fetched_s);
        for (size_t i = 0; i < policy->num_mx; i++)
            buffer_printf(out, " %s", policy->mx[i]);
        buffer_append_byte(out, '\n');
    }
    write_sum(buffer_bytes(out), sum);
    buffer_append_str(out, sum);
}

/* Up to the next blank, which is taken with it; empty at the end. */
static struct bytes take_word(struct bytes *line)
{
    struct bytes word = bytes_first(*line, bytes_find(*line, ' '));
    *line = bytes_from(*line, word.len + 1);
    return word;
}

static bool read_mode(struct bytes word, enum sts_mode *out)
{
    for (enum sts_mode mode = STS_NONE; mode <= STS_ENFORCE; mode++) {
        if (bytes_equal(word, bytes_of(sts_mode_name(mode)))) {
            *out = mode;
            return true;
        }
    }
    return false;
}

static bool read_patterns(struct bytes line, struct sts_policy_text *policy)
{
    char name[DOMAIN_NAME_MAX + 1];
    policy->num_mx = 0;
    while (line.len) {
        struct bytes word = take_word(&line);
        if (policy->num_mx == STS_POLICY_MX_MAX ||
            !domain_name_normalise(bytes_from(word, bytes_starts_nocase(word, "*.") ? 2 : 0), name))
            return false;
        policy->mx[policy->num_mx++] = word;
    }
    return policy->mode == STS_NONE || policy->num_mx > 0;
}

static bool read_id(struct bytes word, struct sts_record *out)
{
    char text[sizeof *out + 16] = "v=STSv1; id=";
    if (word.len == 0 || word.len > STS_ID_MAX)
        return false;
    memcpy(text + strlen(text), word.at, word.len);
    return sts_record_parse(bytes_of(text), out);
}

static bool read_line(struct sts_cache *cache, struct bytes line, int64_t now_s)
{
    struct sts_policy_text policy;
    char domain[DOMAIN_NAME_MAX + 1];
    struct sts_record record;
    uint64_t max_age_s, fetched_s;
    if (!domain_name_normalise(take_word(&line), domain) || !read_id(take_word(&line), &record) ||
        !read_mode(take_word(&line), &policy.mode) ||
        !bytes_to_u64(take_word(&line), STS_MAX_AGE_MAX_S, &max_age_s) ||
        !bytes_to_u64(take_word(&line), INT64_MAX / 2, &fetched_s) || !read_patterns(line, &policy))
        return false;
    policy.max_age_s = (int64_t)max_age_s;
    struct sts_policy *made = sts_policy_new(&policy, record.id);
    int64_t at_s = (int64_t)fetched_s < now_s ? (int64_t)fetched_s : now_s;
    if (now_s - at_s < made->max_age_s)
        sts_cache_put(cache, domain, made, at_s);
    sts_policy_unref(made);
    return true;
}

static bool read_lines(struct sts_cache *cache, struct bytes text, int64_t now_s)
{
    while (text.len) {
        struct bytes line = bytes_first(text, bytes_find(text, '\n'));
        text = bytes_from(text, line.len + 1);
        if (!read_line(cache, line, now_s))
            return false;
    }
    return true;
}

/* The whole file is checked before any of it is believed. */
bool sts_cache_read(struct sts_cache *cache, struct bytes text, int64_t now_s)
{
    char sum[SUM_LINE_LEN + 1];
    size_t head_len = sizeof head - 1;
    if (text.len < head_len + SUM_LINE_LEN ||
        !bytes_equal(bytes_first(text, head_len), bytes_of(head)))
        return false;
    struct bytes covered = bytes_first(text, text.len - SUM_LINE_LEN);
    write_sum(covered, sum);
    if (!bytes_equal(bytes_from(text, covered.len), bytes_of(sum)))
        return false;
    if (read_lines(cache, bytes_from(covered, head_len), now_s))
        return true;
    sts_cache_clear(cache);
    return false;
}
