/* The configuration: defaults, units, ranges, messages with file and line, destinations. */
#include "base/memory.h"
#include "router/config_table.h"
#include "router/config_units.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config *must_parse(const char *text)
{
    char why[CONFIG_WHY_MAX];
    struct config *config = config_parse(text, "test.conf", why);
    if (!config)
        fail_msg("%s\n  for: %s", why, text);
    return config;
}

static char *printed(const struct config *config)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    config_print(config, &out);
    buffer_append_byte(&out, 0);
    return (char *)out.at;
}

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    char *text = mem_zalloc(1, 1 << 20);
    size_t len = fread(text, 1, (1 << 20) - 1, file);
    assert_true(len > 0);
    fclose(file);
    return text;
}

static void an_empty_file_has_the_defaults_of_the_issue(void **state)
{
    (void)state;
    struct config *config = must_parse("");
    assert_string_equal(config->spool, "/var/spool/sluice");
    assert_true(config->hostname[0] != 0);
    assert_true(config->workers >= 1);
    assert_int_equal(config->dns.num_servers, 0);
    assert_false(config->dns.allow_local);
    assert_int_equal(config->smtp.port, 25);
    assert_int_equal(config->smtp.connect_timeout_ms, 30000);
    assert_int_equal(config->smtp.final_timeout_ms, 600000);
    assert_int_equal(config->smtp.content_min_rate, 500);
    assert_int_equal(config->smtp.one_flight_max, 64 * 1024);
    assert_int_equal(config->tls.all.level, TLS_LEVEL_MAY);
    assert_int_equal(config->tls.cache.entries, 65536);
    assert_int_equal(config->tls.all.session.limits.timeout_ms, 3600000);
    assert_int_equal(config->tls.all.session.limits.tickets, 4);
    assert_int_equal(config->tls.all.session.scope, SESSION_SCOPE_ADDRESS);
    assert_int_equal(config->retry.minimum_ms, 300000);
    assert_int_equal(config->retry.maximum_ms, 4000000);
    assert_int_equal(config->retry.lifetime_ms, INT64_C(432000000));
    assert_int_equal(config->retry.null_lifetime_ms, 86400000);
    assert_int_equal(config->queue.durability, DURABILITY_GROUP);
    assert_false(config->queue.hold_in_doubt);
    assert_int_equal(config->queue.long_lines, CONTENT_LONG_FOLD);
    assert_string_equal(config->log.file, "");
    assert_false(config->log.transcript);
    const struct destination_settings *settings = config_for_domain(config, "example.net");
    assert_int_equal(settings->id, 0);
    assert_string_equal(settings->pattern, "");
    assert_null(settings->next_hop);
    assert_int_equal(settings->port, 25);
    assert_int_equal(settings->connections, 20);
    assert_int_equal(settings->connections_initial, 5);
    assert_int_equal(settings->max_deliveries, 100);
    assert_int_equal(settings->idle_ms, 5000);
    config_free(config);
}

static void the_example_of_the_issue_is_read(void **state)
{
    (void)state;
    struct config *config = must_parse(
        "hostname = \"mta1.example.com\"\n"
        "spool    = \"/var/spool/sluice\"\n"
        "workers  = 0                                 # 0: one per core\n"
        "dns   { servers = {\"127.0.0.1:53\"} allow_local = false }\n"
        "smtp  { port = 25 connect_timeout = \"30s\" }\n"
        "tls   { level = \"may\" ca_file = \"\" session_cache { entries = 65536 timeout = \"1h\" "
        "tickets_per_destination = 4 scope = \"address\" file = \"\" } }\n"
        "retry { minimum = \"5m\" maximum = \"4000s\" lifetime = \"5d\" }\n"
        "log   { file = \"\" transcript = false }\n"
        "destination \"example.net\"     { next_hop = \"[127.0.0.1]:2525\"  tls { level = "
        "\"encrypt\" } }\n"
        "destination \"*.corp.example\"  { next_hop = \"lmtp:[127.0.0.1]:24\" }\n"
        "destination \"*\"               { connections = 20  max_deliveries = 100  idle = \"5s\" "
        "}\n");
    const struct destination_settings *net = config_for_domain(config, "example.net");
    const struct destination_settings *corp = config_for_domain(config, "a.b.corp.example");
    assert_string_equal(config->hostname, "mta1.example.com");
    assert_string_equal(config->dns.servers[0], "127.0.0.1:53");
    assert_int_equal(net->tls.level, TLS_LEVEL_ENCRYPT);
    assert_int_equal(net->next_hop->port, 2525);
    assert_int_equal(corp->next_hop->transport, TRANSPORT_LMTP);
    assert_int_equal(corp->tls.level, TLS_LEVEL_MAY);
    assert_null(config_for_domain(config, "corp.example")->next_hop);
    config_free(config);
}

/* "name = value" with an edge of the option's range, or another value than its default. */
static char *assignment(const struct config_option *option, bool highest)
{
    struct buffer value;
    const char *quote = option->type == OPTION_NUMBER || option->type == OPTION_TRUTH ? "" : "\"";
    int64_t edge = highest ? option->max : option->min;
    buffer_init(&value, 100);
    if (option->type == OPTION_DURATION)
        config_format_duration(edge, &value);
    else if (option->type == OPTION_SIZE)
        config_format_size((uint64_t)edge, &value);
    else if (option->type == OPTION_NUMBER)
        buffer_printf(&value, "%lld", (long long)edge);
    else if (option->type == OPTION_TRUTH)
        buffer_append_str(&value, highest ? "true" : "false");
    else if (option->type == OPTION_CHOICE)
        buffer_append_str(&value, option->choices[highest && option->choices[1] ? 1 : 0]);
    else if (option->type == OPTION_MECHANISMS)
        buffer_append_str(&value, highest ? "SCRAM-SHA-256 PLAIN" : "LOGIN");
    else if (strcmp(option->name, "contact") == 0 || strcmp(option->name, "from") == 0)
        buffer_append_str(&value, "kim@a.example");
    else
        buffer_append_str(&value, option->type == OPTION_NEXT_HOP ? "[192.0.2.1]:26" : "a.example");
    char *line = option->type == OPTION_SERVERS
                     ? mem_strdup("servers = {\"192.0.2.53\"}\n")
                     : mem_printf("%s = %s%.*s%s\n", option->name, quote, (int)value.len,
                                  (const char *)value.at, quote);
    buffer_fini(&value);
    return line;
}

static char *in_its_section(const struct config_option *option, const char *line)
{
    const char *section = option->section;
    if (strcmp(section, "destination") == 0)
        return mem_printf("destination \"x.example\" { %s }", line);
    if (strcmp(section, "destination.tls") == 0)
        return mem_printf("destination \"x.example\" { tls { %s } }", line);
    if (strcmp(section, "destination.auth") == 0)
        return mem_printf("destination \"x.example\" { auth { %s } }", line);
    if (strcmp(section, "destination.tls.session_cache") == 0)
        return mem_printf("destination \"x.example\" { tls { session_cache { %s } } }", line);
    if (strncmp(section, "tls.", 4) == 0)
        return mem_printf("tls { %s { %s } }", section + 4, line);
    return *section ? mem_printf("%s { %s }", section, line) : mem_strdup(line);
}

/* Whether an edge of the option's range is taken, and then shown. */
static bool edge_is_taken(const struct config_option *option, bool highest)
{
    char why[CONFIG_WHY_MAX];
    char *line = assignment(option, highest);
    char *text = in_its_section(option, line);
    struct config *config = config_parse(text, "test.conf", why);
    if (config) {
        char *shown = printed(config);
        bool is_shown = strstr(shown, line) || strcmp(line, "workers = 0\n") == 0;
        if (!is_shown)
            fail_msg("not shown: %s", text);
        free(shown);
        config_free(config);
    }
    free(line);
    free(text);
    return config != NULL;
}

/* Some edges clash with another option's default: then the other edge does not. */
static void every_option_takes_the_edges_of_its_range(void **state)
{
    (void)state;
    size_t num_clashes = 0;
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        /* Neither goes without the other: auth_settings_test.c has them. */
        if (option->type == OPTION_USER || option->type == OPTION_SECRET_FILE)
            continue;
        if (strcmp(option->name, "via") == 0)
            continue; /* nor this without a section: tls_reports_have_addresses_and_a_way() */
        bool lowest = edge_is_taken(option, false);
        bool highest = edge_is_taken(option, true);
        if (!lowest && !highest)
            fail_msg("%s.%s cannot be set", option->section, option->name);
        num_clashes += (lowest ? 0u : 1u) + (highest ? 0u : 1u);
    }
    /* retry.minimum, retry.maximum, dns.min_ttl, dns.max_ttl. */
    assert_int_equal(num_clashes, 4);
}

static void tls_reports_have_addresses_and_a_way(void **state)
{
    static const struct {
        const char *text;
        const char *why; /* NULL: taken */
    } rows[] = {
        {"tls { report { send = true } }", NULL},
        {"tls { report { send = true keep = 3d } }", "keep is too short"},
        {"tls { report { contact = \"kim\" } }", "contact is no address"},
        {"tls { report { from = \"k\xc3\xa4@a.example\" } }", "from is no address"},
        {"tls { report { from = \"kim@[192.0.2.1]\" } }", "from is no address"},
        {"tls { report { via = \"a.example\" } }", "via has no next_hop"},
        {"tls { report { via = \"a b\" } }", "via has no next_hop"},
        {"tls { report { via = \"A.example\" } }\n"
         "destination \"a.example\" { next_hop = \"[192.0.2.1]\" }",
         NULL},
    };
    char why[CONFIG_WHY_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *config = config_parse(rows[i].text, "test.conf", why);
        if ((config == NULL) != (rows[i].why != NULL) || (!config && !strstr(why, rows[i].why)))
            fail_msg("%s: %s", rows[i].text, config ? "taken" : why);
        config_free(config);
    }
    struct config *config =
        config_parse("tls { report { contact = \"Kim@A.Example\" } }", "test.conf", why);
    assert_string_equal(config->tls.report.contact, "Kim@a.example");
    assert_string_equal(config->tls.report.from, "Kim@a.example");
    config_free(config);
}

static void what_is_wrong_is_told_with_file_line_and_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *where;
        const char *what;
        const char *expected;
    } rows[] = {
        {"# one\n/* two\n three */ \nfoo = 1\n", "test.conf:4: ", "no such option 'foo'", "docs/"},
        {"dns {\n# c\n\n  bar = 1 }", "test.conf:4: ", "no such option 'bar'", "docs/"},
        {"foo { }", "test.conf:1: ", "no such option 'foo'", "docs/"},
        {"smtp {\n port = 0 }", "test.conf:2: ", "out of range", "1 to 65535"},
        {"smtp {\n port = 65536 }", "test.conf:2: ", "out of range", "1 to 65535"},
        {"smtp { port = 25x }", "test.conf:1: ", "not understood", "a number"},
        {"smtp { port = -1 }", "test.conf:1: ", "not understood", "a number"},
        {"smtp { port = 0x19 }", "test.conf:1: ", "not understood", "a number"},
        {"workers = 99999999999999999999", "test.conf:1: ", "not understood", "a number"},
        {"retry { minimum = 300 }", "test.conf:1: ", "not understood", "a duration with its unit"},
        {"retry { minimum = \"1.5h\" }", "test.conf:1: ", "not understood", "a duration"},
        {"retry { lifetime = \"9999999999999d\" }", "test.conf:1: ", "not understood", "from 1s"},
        {"retry { minimum = \"2h\" }", "test.conf:1: ", "above retry.maximum", "at most"},
        {"queue { content_memory = \"64Q\" }", "test.conf:1: ", "not understood", "a size"},
        {"queue { content_memory = \"99999999999999T\" }", "test.conf:1: ", "not understood", "1T"},
        {"queue { in_doubt = \"drop\" }", "test.conf:1: ", "unknown", "\"retry\" or \"hold\""},
        {"tls { level = \"tofu\" }", "test.conf:1: ", "unknown", "\"dane-only\""},
        {"tls { match = \"mx.test -x-..\" }", "test.conf:1: ", "-x-..", "domain names"},
        {"queue { durability = \"often\" }", "test.conf:1: ", "unknown", "\"strict\""},
        {"tls { level = \"dan\" }", "test.conf:1: ", "unknown", "\"encrypt\""},
        {"tls { level = \"\" }", "test.conf:1: ", "unknown", "\"encrypt\""},
        {"tls { session_cache { stripes = 12 } }", "test.conf:1: ", "power of two", "1, 2, 4"},
        {"dns { allow_local = maybe }", "test.conf:1: ", "not understood", "true or false"},
        {"dns { servers = {\"localhost\"} }", "test.conf:1: ", "no server", "192.0.2.1:53"},
        {"dns { servers = {\"1.1.1.1:0\"} }", "test.conf:1: ", "no server", "192.0.2.1:53"},
        {"dns { servers = {\"[1.1.1.1]:53\"} }", "test.conf:1: ", "no server", "192.0.2.1:53"},
        {"dns { servers = {\"1.1.1.1\" \"9.9.9.9\"} }", "test.conf:1: ", "unexpected", "\",\""},
        {"dns { ipv4 = no\n ipv6 = no }", "test.conf:2: ", "both false", "one true"},
        {"spool = \"\"", "test.conf:1: ", "empty", "1 to 4000"},
        {"hostname = \"not a name\"", "test.conf:1: ", "no domain name", "mta1.example.com"},
        {"hostname = a\nhostname = b", "test.conf:2: ", "set twice", "once"},
        {"dns { tries = 1 }\ndns { tries = 2 }", "test.conf:2: ", "set twice", "once"},
        {"hostname = \"a\nb\"", "test.conf:1: ", "not closed", "a quote"},
        {"\n\ndns { ipv4 = true\n", "test.conf:3: ", "not closed", "\"}\""},
        {"hostname = a }", "test.conf:1: ", "without", "a section"},
        {"\n/* x\n\n", "test.conf:2: ", "not closed", "\"*/\""},
        {"spool = \"${HOME}/spool\"", "test.conf:1: ", "environment", "${"},
        {"spool = ${HOME}", "test.conf:1: ", "unexpected", "quotes"},
        {"spool = \"a\\x00b\"", "test.conf:1: ", "escape", "\\xHH"},
        {"spool = \"a\\qb\"", "test.conf:1: ", "escape", "\\xHH"},
        {"dns|ipv4 = true", "test.conf:1: ", "unexpected", "name"},
        {"include(\"/etc/passwd\")", "test.conf:1: ", "unexpected", "expected"},
        {"hostname", "test.conf:", "premature end", "NAME = VALUE"},
        {"hostname { }", "test.conf:1: ", "missing equal sign", "NAME = VALUE"},
        {"dns = 5", "test.conf:1: ", "missing opening brace", "SECTION {"},
        {"destination { }", "test.conf:1: ", "missing title", "expected"},
        {"\ndestination \"a_!b\" {\n\n}", "test.conf:2: ", "no pattern", "*.domain"},
        {"destination \"a.*.b\" { }", "test.conf:1: ", "no pattern", "*.domain"},
        {"destination a.b {}\ndestination \"A.B\" {\n}", "test.conf:2: ", "already", "one section"},
        {"destination a {}\ndestination a {}", "test.conf:2: ", "duplicate", "once"},
        {"destination a {\n next_hop = \"1.2.3.4\" }", "test.conf:2: ", "no next hop", "brackets"},
        {"destination a {\n idle = \"2h\" }", "test.conf:2: ", "out of range", "1h"},
        {"destination a { pickup { settle = 1s } }", "test.conf:1: ", "'pickup'", "docs/"},
        {"a { b { c { d { e {", "test.conf:1: ", "within each other", "at most 4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[CONFIG_WHY_MAX] = "";
        struct config *config = config_parse(rows[i].text, "test.conf", why);
        if (config)
            fail_msg("accepted: %s", rows[i].text);
        bool ok = strncmp(why, rows[i].where, strlen(rows[i].where)) == 0 &&
                  strstr(why, rows[i].what) && strstr(why, rows[i].expected) &&
                  strstr(why, "expected");
        if (!ok)
            fail_msg("%s\n  for: %s\n  wanted: %s%s ... %s", why, rows[i].text, rows[i].where,
                     rows[i].what, rows[i].expected);
    }
}

static void a_message_shows_no_control_characters(void **state)
{
    (void)state;
    char why[CONFIG_WHY_MAX];
    assert_null(config_parse("tls { level = \"\\x1b[31m\\x07\" }", "test\x1b.conf", why));
    for (const char *c = strchr(why, ':'); *c; c++)
        assert_true((unsigned char)*c >= 0x20);
}

static void a_long_name_does_not_push_out_what_was_expected(void **state)
{
    (void)state;
    char why[CONFIG_WHY_MAX];
    char text[2000];
    memset(text, 'b', sizeof text);
    text[sizeof text - 1] = 0;
    assert_null(config_parse(text, "test.conf", why));
    assert_non_null(strstr(why, "expected one that docs/configuration.md names"));
}

static void the_syntax_has_comments_quotes_and_bare_words(void **state)
{
    (void)state;
    struct config *config =
        must_parse("// a comment\r\nspool = /var/spool/x # another\n"
                   "hostname = 'mta.example' /* and { one */ log { file = '${HOME}\\\\x' }\n"
                   "dns { servers = {} servers += {1.1.1.1, \"[::1]:5353\"} }\n"
                   "log { transcript_file = \"a\\\"b\\x41\" } log { transcript = on }");
    assert_string_equal(config->spool, "/var/spool/x");
    assert_string_equal(config->hostname, "mta.example");
    assert_string_equal(config->log.file, "${HOME}\\x");
    assert_string_equal(config->log.transcript_file, "a\"bA");
    assert_true(config->log.transcript);
    assert_int_equal(config->dns.num_servers, 2);
    assert_string_equal(config->dns.servers[1], "[::1]:5353");
    config_free(config);
}

static void what_is_printed_reads_back_to_the_same(void **state)
{
    (void)state;
    struct config *config = must_parse(
        "spool = '/a ${b} \"c\" \\\\'\nlog { file = \"\\x01\\xc3\\xbc\" level = debug }\n"
        "retry { minimum = 90s maximum = 1h }\nqueue { content_memory = 1500K }\n"
        "tls { level = encrypt session_cache { scope = site entries = 0 "
        "tickets_per_destination = 3 } }\n"
        "dns { servers = {\"127.0.0.1:53\", \"::1\"} }\n"
        "destination *.b\xc3\xbc\x63her.example { next_hop = \"[2001:db8::1]:26\" }\n"
        "destination [192.0.2.1] { tls { level = none session_cache { scope = host } } port = 27 "
        "}\n"
        "destination * { port = 26 idle = 0 transcript = true next_hop = \"\" }\n");
    char *first = printed(config);
    struct config *again = must_parse(first);
    char *second = printed(again);
    assert_string_equal(first, second);
    assert_string_equal(again->spool, "/a ${b} \"c\" \\");
    assert_string_equal(again->log.file, "\x01\xc3\xbc");
    assert_int_equal(again->queue.content_memory, 1500 * 1024);
    const struct tls_settings *tls = &config_for_domain(again, "[192.0.2.1]")->tls;
    assert_int_equal(tls->session.scope, SESSION_SCOPE_HOST);
    assert_int_equal(tls->session.limits.tickets, 3);
    assert_int_equal(config_for_domain(again, "x.xn--bcher-kva.example")->next_hop->port, 26);
    free(first);
    free(second);
    config_free(config);
    config_free(again);
}

static void the_more_specific_destination_wins_and_sets_only_what_it_names(void **state)
{
    (void)state;
    struct config *config =
        must_parse("destination \"*.example\" { connections = 7 idle = 7s max_deliveries = 7 }\n"
                   "destination \"*\" { connections = 6 port = 66 }\n"
                   "destination \"mail.sub.example\" { connections = 9 transcript = true }\n"
                   "destination \"*.sub.example\" { connections = 8 idle = 8s }\n"
                   "destination \"[192.0.2.1]\" { connections = 10 }\n"
                   "destination \"[IPv6:2001:DB8::1]\" { connections = 11 }\n");
    static const struct {
        const char *domain, *pattern;
        unsigned connections, max_deliveries, initial;
        int64_t idle_ms;
    } rows[] = {
        {"mail.sub.example", "mail.sub.example", 9, 7, 5, 8000},
        {"a.mail.sub.example", "*.sub.example", 8, 7, 5, 8000},
        {"sub.example", "*.example", 7, 7, 5, 7000},
        {"x.example", "*.example", 7, 7, 5, 7000},
        {"example", "*", 6, 100, 5, 5000},
        {"xexample", "*", 6, 100, 5, 5000},
        {"other.test", "*", 6, 100, 5, 5000},
        {"[192.0.2.1]", "[192.0.2.1]", 10, 100, 5, 5000},
        {"[192.0.2.2]", "*", 6, 100, 5, 5000},
        {"[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]", 11, 100, 5, 5000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct destination_settings *settings = config_for_domain(config, rows[i].domain);
        assert_string_equal(settings->pattern, rows[i].pattern);
        assert_int_equal(settings->connections, rows[i].connections);
        assert_int_equal(settings->max_deliveries, rows[i].max_deliveries);
        assert_int_equal(settings->connections_initial, rows[i].initial);
        assert_int_equal(settings->idle_ms, rows[i].idle_ms);
        assert_int_equal(settings->port, 66);
    }
    assert_true(config_for_domain(config, "mail.sub.example")->transcript);
    assert_false(config_for_domain(config, "sub.example")->transcript);
    config_free(config);
}

static void equal_settings_have_equal_ids_and_others_do_not(void **state)
{
    (void)state;
    struct config *config = must_parse("destination a.test { port = 26 }\n"
                                       "destination b.test { port = 26 }\n"
                                       "destination c.test { port = 27 }\n"
                                       "destination d.test { port = 25 }\n"
                                       "destination e.test { next_hop = \"[192.0.2.1]\" }\n"
                                       "destination f.test { next_hop = \"[192.0.2.1]\" }\n");
    unsigned ids[6];
    const char *domains[] = {"a.test", "b.test", "c.test", "d.test", "e.test", "f.test"};
    for (size_t i = 0; i < 6; i++)
        ids[i] = config_for_domain(config, domains[i])->id;
    assert_int_equal(ids[0], ids[1]);
    assert_int_not_equal(ids[0], ids[2]);
    assert_int_equal(ids[3], config_for_domain(config, "other.test")->id);
    assert_int_equal(ids[4], ids[5]);
    assert_int_not_equal(ids[4], ids[0]);
    config_free(config);
}

static void global_values_hold_for_destinations_that_do_not_set_them(void **state)
{
    (void)state;
    struct config *config = must_parse("smtp { port = 2525 } tls { level = none }\n"
                                       "log { transcript = true }\n"
                                       "destination a.test { connections = 2 }");
    const struct destination_settings *settings = config_for_domain(config, "a.test");
    assert_int_equal(settings->port, 2525);
    assert_int_equal(settings->tls.level, TLS_LEVEL_NONE);
    assert_true(settings->transcript);
    assert_int_equal(settings->connections, 2);
    assert_int_equal(settings->connections_initial, 2);
    config_free(config);
}

static void thousands_of_destinations_are_found(void **state)
{
    (void)state;
    enum { NUM = 2000 };
    struct buffer text;
    buffer_init(&text, 1 << 20);
    for (int i = 0; i < NUM; i++)
        buffer_printf(&text, "destination d%d.test { port = %d }\n", i, 1000 + i);
    buffer_append_byte(&text, 0);
    struct config *config = must_parse((const char *)text.at);
    for (int i = 0; i < NUM; i++) {
        char domain[32];
        snprintf(domain, sizeof domain, "d%d.test", i);
        assert_int_equal(config_for_domain(config, domain)->port, 1000 + i);
    }
    config_free(config);
    buffer_fini(&text);
}

static void units_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
        const char *shown;
    } durations[] = {{"0", 0, "0"},
                     {"250ms", 250, "250ms"},
                     {"1000ms", 1000, "1s"},
                     {"90s", 90000, "90s"},
                     {"60m", 3600000, "1h"},
                     {"5D", 432000000, "5d"},
                     {"14d", 1209600000, "2w"}};
    static const char *const no_durations[] = {"",    "5",     "s",  "-5s",
                                               "5 s", "1h30m", "5y", "9223372036854775807s"};
    int64_t ms;
    uint64_t len;
    struct buffer out;
    buffer_init(&out, 100);
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        assert_true(config_parse_duration(bytes_of(durations[i].text), &ms));
        assert_int_equal(ms, durations[i].ms);
        buffer_clear(&out);
        config_format_duration(ms, &out);
        assert_true(bytes_equal(buffer_bytes(&out), bytes_of(durations[i].shown)));
    }
    for (size_t i = 0; i < sizeof no_durations / sizeof *no_durations; i++)
        assert_false(config_parse_duration(bytes_of(no_durations[i]), &ms));
    assert_true(config_parse_size(bytes_of("64k"), &len));
    assert_int_equal(len, 65536);
    assert_true(config_parse_size(bytes_of("4097"), &len));
    assert_int_equal(len, 4097);
    assert_false(config_parse_size(bytes_of("64KB"), &len));
    assert_false(config_parse_size(bytes_of("8388608T"), &len));
    buffer_fini(&out);
}

static void a_file_that_cannot_be_read_is_an_error_when_it_was_named(void **state)
{
    (void)state;
    char why[CONFIG_WHY_MAX] = "";
    assert_null(config_load("/nonexistent/sluice.conf", why));
    assert_non_null(strstr(why, "/nonexistent/sluice.conf:0: "));
    assert_non_null(strstr(why, "No such file"));
    assert_null(config_load("/", why));
    assert_non_null(strstr(why, "directory"));
}

static void a_file_with_nul_or_too_large_is_refused(void **state)
{
    (void)state;
    char why[CONFIG_WHY_MAX];
    char path[] = "/tmp/sluice-config-test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "workers = 1\n\0bogus = 2\n", 23), 23);
    assert_null(config_load(path, why));
    assert_non_null(strstr(why, ":2: unexpected character"));
    assert_int_equal(ftruncate(fd, 5 * 1024 * 1024), 0);
    assert_null(config_load(path, why));
    assert_non_null(strstr(why, "too large"));
    close(fd);
    unlink(path);
}

/* "#name = value" in the example is the option with its default; prose has a space after "#". */
static void the_example_file_says_the_defaults(void **state)
{
    (void)state;
    char *text = slurp(SOURCE_ROOT "/sluice.conf.example");
    struct config *commented = must_parse(text);
    struct config *empty = must_parse("destination \"*\" {}");
    char *shown = printed(commented);
    char *wanted = printed(empty);
    assert_string_equal(shown, wanted);
    for (char *c = text; *c; c++)
        if (*c == '#' && c[1] >= 'a' && c[1] <= 'z')
            *c = ' ';
    struct config *uncommented = must_parse(text);
    char *uncommented_shown = printed(uncommented);
    *strstr(wanted, "\ndestination") = 0;
    *strstr(uncommented_shown, "\ndestination") = 0;
    assert_string_equal(uncommented_shown, wanted);
    assert_int_equal(config_for_domain(uncommented, "a.test")->id, 0);
    for (size_t i = 0; i < config_num_options; i++) {
        char *needle = mem_printf(" %s = ", config_options[i].name);
        if (!strstr(text, needle))
            fail_msg("sluice.conf.example does not name %s", config_options[i].name);
        free(needle);
    }
    free(text);
    free(shown);
    free(wanted);
    free(uncommented_shown);
    config_free(commented);
    config_free(empty);
    config_free(uncommented);
}

static void the_documentation_has_a_row_with_the_default_of_each_option(void **state)
{
    (void)state;
    char *text = slurp(SOURCE_ROOT "/docs/configuration.md");
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        const char *value = option->fallback;
        char *row = mem_printf("\n| `%s%s%s` | ", option->section, *option->section ? "." : "",
                               option->name);
        char *shown = value ? mem_printf("`%s` |", option->type == OPTION_SERVERS ? "{}"
                                                   : *value                       ? value
                                                                                  : "\"\"")
                            : mem_strdup("that of ");
        const char *at = strstr(text, row);
        if (!at || strncmp(at + strlen(row), shown, strlen(shown)) != 0 || !strstr(at, option->doc))
            fail_msg("docs/configuration.md has no row %s%s ... %s", row + 1, shown, option->doc);
        free(row);
        free(shown);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_has_the_defaults_of_the_issue),
        cmocka_unit_test(the_example_of_the_issue_is_read),
        cmocka_unit_test(every_option_takes_the_edges_of_its_range),
        cmocka_unit_test(tls_reports_have_addresses_and_a_way),
        cmocka_unit_test(what_is_wrong_is_told_with_file_line_and_what_was_expected),
        cmocka_unit_test(a_message_shows_no_control_characters),
        cmocka_unit_test(a_long_name_does_not_push_out_what_was_expected),
        cmocka_unit_test(the_syntax_has_comments_quotes_and_bare_words),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(the_more_specific_destination_wins_and_sets_only_what_it_names),
        cmocka_unit_test(equal_settings_have_equal_ids_and_others_do_not),
        cmocka_unit_test(global_values_hold_for_destinations_that_do_not_set_them),
        cmocka_unit_test(thousands_of_destinations_are_found),
        cmocka_unit_test(units_are_read_and_written),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error_when_it_was_named),
        cmocka_unit_test(a_file_with_nul_or_too_large_is_refused),
        cmocka_unit_test(the_example_file_says_the_defaults),
        cmocka_unit_test(the_documentation_has_a_row_with_the_default_of_each_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
