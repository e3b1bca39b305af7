/* A reload's comparisons: which settings stay the same, and which options need a restart. */
#include "base/memory.h"
#include "router/config_destinations.h"
#include "router/reload.h"
#include "tests/unit/cmocka_prelude.h"

static struct config *must_parse(const char *text)
{
    char why[CONFIG_WHY_MAX];
    struct config *config = config_parse(text, "test.conf", why);
    if (!config)
        fail_msg("%s\n  for: %s", why, text);
    return config;
}

static struct config_snapshot *must_make(const char *text)
{
    char why[TLS_WHY_MAX];
    struct config_snapshot *snapshot = config_snapshot_new(must_parse(text), why);
    if (!snapshot)
        fail_msg("%s\n  for: %s", why, text);
    return snapshot;
}

static unsigned id_of(const struct config_snapshot *snapshot, const char *domain)
{
    return config_for_domain(snapshot->config, domain)->id;
}

static void equal_settings_keep_their_id_wherever_they_stand(void **state)
{
    (void)state;
    struct config_snapshot *old = must_make("destination \"a.test\" { connections = 3 }\n"
                                            "destination \"b.test\" { idle = \"9s\" }");
    struct config_snapshot *fresh = must_make("destination \"b.test\" { idle = \"9s\" }\n"
                                              "destination \"c.test\" { connections = 3 }\n"
                                              "destination \"a.test\" { connections = 4 }");
    assert_true(config_snapshot_follow(fresh, old));
    assert_int_equal(id_of(fresh, "x.test"), id_of(old, "x.test"));
    assert_int_equal(id_of(fresh, "b.test"), id_of(old, "b.test"));
    assert_int_equal(id_of(fresh, "c.test"), id_of(old, "a.test"));
    assert_false(config_has_settings(old->config, id_of(fresh, "a.test")));
    config_snapshot_unref(old);
    config_snapshot_unref(fresh);
}

static void an_id_never_comes_again(void **state)
{
    (void)state;
    struct config_snapshot *first = must_make("destination \"*\" { connections = 3 }");
    struct config_snapshot *second = must_make("destination \"*\" { connections = 4 }");
    struct config_snapshot *third = must_make("destination \"*\" { connections = 3 }");
    assert_true(config_snapshot_follow(second, first));
    assert_true(config_snapshot_follow(third, second));
    assert_false(config_has_settings(first->config, id_of(second, "x.test")));
    assert_false(config_has_settings(first->config, id_of(third, "x.test")));
    assert_false(config_has_settings(second->config, id_of(third, "x.test")));
    config_snapshot_unref(first);
    config_snapshot_unref(second);
    config_snapshot_unref(third);
}

static void the_same_file_again_makes_nothing_new(void **state)
{
    (void)state;
    static const char text[] = "destination \"a.test\" { tls { level = \"encrypt\" } }";
    struct config_snapshot *old = must_make(text);
    struct config_snapshot *fresh = must_make(text);
    assert_false(config_snapshot_follow(fresh, old));
    config_snapshot_unref(old);
    config_snapshot_unref(fresh);
}

static void compare(const char *old_text, const char *fresh_text, const char *changed,
                    const char *restart)
{
    struct config *old = must_parse(old_text);
    struct config *fresh = must_parse(fresh_text);
    json_t *names, *restart_names;
    reload_compare(old, fresh, &names, &restart_names);
    char *text = json_dumps(names, JSON_COMPACT);
    char *restart_text = json_dumps(restart_names, JSON_COMPACT);
    assert_string_equal(text, changed);
    assert_string_equal(restart_text, restart);
    free(text);
    free(restart_text);
    json_decref(names);
    json_decref(restart_names);
    config_free(old);
    config_free(fresh);
}

static void what_changed_and_what_needs_a_restart_is_named(void **state)
{
    (void)state;
    compare("", "", "[]", "[]");
    compare("", "smtp { port = 26 max_mx = 3 }", "[\"smtp.port\"]", "[\"smtp.max_mx\"]");
    compare("workers = 2", "workers = 3 log { level = \"debug\" }", "[\"log.level\"]",
            "[\"workers\"]");
    compare("", "retry { minimum = \"1m\" lifetime = \"2d\" }", "[\"retry.minimum\"]",
            "[\"retry.lifetime\"]");
    compare("", "tls { session_cache { entries = 5 stripes = 2 } }",
            "[\"tls.session_cache.entries\"]", "[\"tls.session_cache.stripes\"]");
    compare("", "destination \"a.test\" { tls { session_cache { scope = \"host\" } } }",
            "[\"destination\"]", "[]");
}

/* The file for them is opened at the start, or not at all. */
static void the_first_transcripts_need_a_restart(void **state)
{
    (void)state;
    compare("", "destination \"a.test\" { transcript = true }", "[\"destination\"]",
            "[\"log.transcript\"]");
    compare("", "log { transcript = true }", "[\"log.transcript\"]", "[\"log.transcript\"]");
    compare("log { transcript = true }", "log { transcript = false }", "[\"log.transcript\"]",
            "[]");
    compare("destination \"a.test\" { transcript = true }", "log { transcript = true }",
            "[\"log.transcript\",\"destination\"]", "[]");
}

/* Each option is either changed by a reload or named as one that needs a restart. */
static void an_option_that_a_thread_took_at_the_start_is_never_called_changed(void **state)
{
    (void)state;
    static const char *const at_start[] = {
        "", "pickup", "queue", "content", "dns", "tls.sts", "tls.report",
    };
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        for (size_t k = 0; k < sizeof at_start / sizeof *at_start; k++)
            if (strcmp(option->section, at_start[k]) == 0 && strcmp(option->name, "in_doubt") != 0)
                assert_false(reload_can_change(option));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_settings_keep_their_id_wherever_they_stand),
        cmocka_unit_test(an_id_never_comes_again),
        cmocka_unit_test(the_same_file_again_makes_nothing_new),
        cmocka_unit_test(what_changed_and_what_needs_a_restart_is_named),
        cmocka_unit_test(the_first_transcripts_need_a_restart),
        cmocka_unit_test(an_option_that_a_thread_took_at_the_start_is_never_called_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
