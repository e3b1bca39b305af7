/* SCRAM-SHA-256: the example of RFC 7677 3, and every way in which a server's message can be wrong.
 */
#include "tls/scram.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#define NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define SERVER_FIRST "r=" SERVER_NONCE ",s=" SALT ",i=4096"
#define SIGNATURE "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

struct talk {
    struct scram scram;
    struct buffer out;
};

static void begin(struct talk *talk, const char *user)
{
    buffer_init(&talk->out, 4096);
    scram_begin(&talk->scram, user, NONCE, &talk->out);
}

static void end(struct talk *talk)
{
    scram_fini(&talk->scram);
    buffer_fini(&talk->out);
}

static void assert_said(struct talk *talk, const char *text)
{
    assert_int_equal(talk->out.len, strlen(text));
    assert_memory_equal(talk->out.at, text, strlen(text));
    buffer_clear(&talk->out);
}

static const char *answer(struct talk *talk, const char *server_first)
{
    return scram_answer(&talk->scram, bytes_of(server_first), "pencil", &talk->out);
}

static void the_example_of_rfc_7677(void **state)
{
    (void)state;
    struct talk talk;
    begin(&talk, "user");
    assert_said(&talk, "n,,n=user,r=" NONCE);
    assert_null(answer(&talk, SERVER_FIRST));
    assert_said(&talk, "c=biws,r=" SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_null(scram_check(&talk.scram, bytes_of("v=" SIGNATURE)));
    assert_null(scram_check(&talk.scram, bytes_of("v=" SIGNATURE ",x=more")));
    end(&talk);
}

static void a_name_is_escaped(void **state)
{
    (void)state;
    struct talk talk;
    begin(&talk, "a=b,c");
    assert_said(&talk, "n,,n=a=3Db=2Cc,r=" NONCE);
    end(&talk);
}

static void each_nonce_is_another(void **state)
{
    (void)state;
    struct scram one, other;
    struct buffer out;
    buffer_init(&out, 4096);
    scram_begin(&one, "u", NULL, &out);
    scram_begin(&other, "u", NULL, &out);
    assert_int_equal(strlen(one.nonce), SCRAM_NONCE_LEN);
    assert_string_not_equal(one.nonce, other.nonce);
    scram_fini(&one);
    scram_fini(&other);
    buffer_fini(&out);
}

static void a_wrong_challenge_gets_no_proof(void **state)
{
    static const char *const wrong[] = {
        "",
        "r=",
        "r=" NONCE ",s=" SALT ",i=4096",         /* nothing of the server's in it */
        "r=X" SERVER_NONCE ",s=" SALT ",i=4096", /* not ours */
        "r=" NONCE "\x80,s=" SALT ",i=4096",     /* no nonce's character */
        "r=" NONCE " x,s=" SALT ",i=4096",
        "s=" SALT ",r=" SERVER_NONCE ",i=4096", /* order */
        "r=" SERVER_NONCE ",i=4096",            /* no salt */
        "r=" SERVER_NONCE ",s=,i=4096",
        "r=" SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ,i=4096", /* padding */
        "r=" SERVER_NONCE ",s=@@@@,i=4096",
        "r=" SERVER_NONCE ",s=" SALT,
        "r=" SERVER_NONCE ",s=" SALT ",i=",
        "r=" SERVER_NONCE ",s=" SALT ",i=4095", /* RFC 7677 4 */
        "r=" SERVER_NONCE ",s=" SALT ",i=0",
        "r=" SERVER_NONCE ",s=" SALT ",i=-1",
        "r=" SERVER_NONCE ",s=" SALT ",i=4096x",
        "r=" SERVER_NONCE ",s=" SALT ",i=200001", /* would hold up the worker */
        "r=" SERVER_NONCE ",s=" SALT ",i=99999999999999999999",
        "m=ext,r=" SERVER_NONCE ",s=" SALT ",i=4096",
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct talk talk;
        begin(&talk, "user");
        buffer_clear(&talk.out);
        if (!answer(&talk, wrong[i]))
            fail_msg("answered: %s", wrong[i]);
        assert_int_equal(talk.out.len, 0);
        end(&talk);
    }
}

static void long_messages_are_refused(void **state)
{
    (void)state;
    char text[SCRAM_MESSAGE_MAX + 200];
    struct talk talk;
    begin(&talk, "user");
    memset(text, 'x', sizeof text);
    memcpy(text, "r=" NONCE, strlen("r=" NONCE));
    memcpy(text + sizeof text - 40, ",s=" SALT ",i=4096", strlen(",s=" SALT ",i=4096") + 1);
    assert_non_null(answer(&talk, text));
    memcpy(text + 700, ",s=" SALT ",i=4096", strlen(",s=" SALT ",i=4096") + 1);
    assert_non_null(answer(&talk, text)); /* the nonce alone */
    end(&talk);
}

static void a_server_has_to_know_the_password(void **state)
{
    static const char *const wrong[] = {
        "",
        "v=",
        "e=other-error",
        ("v=" SIGNATURE "AAAA"),
        "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9",
        ("x=1,v=" SIGNATURE),
        SIGNATURE,
    };
    (void)state;
    struct talk talk;
    begin(&talk, "user");
    assert_null(answer(&talk, SERVER_FIRST));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!scram_check(&talk.scram, bytes_of(wrong[i])))
            fail_msg("believed: %s", wrong[i]);
    end(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_rfc_7677),
        cmocka_unit_test(a_name_is_escaped),
        cmocka_unit_test(each_nonce_is_another),
        cmocka_unit_test(a_wrong_challenge_gets_no_proof),
        cmocka_unit_test(long_messages_are_refused),
        cmocka_unit_test(a_server_has_to_know_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
