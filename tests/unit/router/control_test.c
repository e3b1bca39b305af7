/* The control socket: lines in, lines out, within bounds, whoever comes and goes meanwhile.
 * The command table is the test's own: "echo" answers at once, "later" when the test says so. */
#include "base/memory.h"
#include "router/control.h"
#include "router/control_client.h"
#include "router/control_command.h"
#include "tests/unit/cmocka_prelude.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct fixture {
    char root[64];
    struct spool spool;
    struct control *control;
};

static _Atomic(struct control_call *) parked;

void control_command_run(struct control_call *call)
{
    const char *name = json_string_value(json_object_get(call->request, "command"));
    if (name && strcmp(name, "later") == 0)
        atomic_store(&parked, call);
    else if (name && strcmp(name, "echo") == 0)
        control_answer(call, json_pack("{s:b, s:O}", "ok", 1, "request", call->request));
    else
        control_refuse(call, "usage", "no such command");
}

static int set_up(void **state)
{
    char why[SPOOL_WHY_MAX] = "";
    struct fixture *f = mem_zalloc(1, sizeof *f);
    snprintf(f->root, sizeof f->root, "/tmp/sluice-control-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    assert_true(spool_open(&f->spool, f->root, true, why));
    f->control = control_new(&f->spool, NULL, why);
    if (!f->control)
        fail_msg("%s", why);
    assert_true(control_start(f->control));
    atomic_store(&parked, NULL);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    if (f->control) {
        control_stop(f->control);
        control_free(f->control);
    }
    spool_close(&f->spool);
    snprintf(command, sizeof command, "rm -rf '%s'", f->root);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static int connect_raw(const struct fixture *f)
{
    struct sockaddr_un address = control_address(f->spool.root_fd);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* All that comes until the other side closes. */
static size_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;
    while ((n = recv(fd, out + len, cap - 1 - len, 0)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    return len;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static size_t num_lines(const char *text)
{
    size_t num = 0;
    for (; *text; text++)
        num += *text == '\n';
    return num;
}

static struct control_call *wait_for_parked(void)
{
    struct control_call *call;
    while (!(call = atomic_exchange(&parked, NULL)))
        sched_yield();
    return call;
}

static void only_the_owner_may_connect(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(fstatat(f->spool.root_fd, "control", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void requests_on_one_connection_are_answered_in_order_however_they_are_split(void **state)
{
    struct fixture *f = *state;
    char out[4096];
    const char *in = "{\"command\":\"echo\",\"n\":1}\n\n{\"command\":\"echo\",\"n\":2}\nnonsense\n"
                     "[1]\n{\"command\":\"none\"}\n{\"command\":\"echo\",\"n\":3}\n";
    int fd = connect_raw(f);
    for (const char *at = in; *at; at++)
        assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
    shutdown(fd, SHUT_WR);
    read_all(fd, out, sizeof out);
    assert_int_equal(num_lines(out), 6);
    const char *first = strstr(out, "\"n\":1"), *second = strstr(out, "\"n\":2"),
               *refused = strstr(out, "one JSON object"), *third = strstr(out, "\"n\":3");
    assert_true(first && second && refused && third);
    assert_true(first < second && second < refused && refused < third);
    close(fd);
}

static void a_request_without_end_is_refused(void **state)
{
    struct fixture *f = *state;
    char out[4096];
    char *long_line = mem_zalloc(CONTROL_REQUEST_MAX + 1, 1);
    memset(long_line, 'x', CONTROL_REQUEST_MAX);
    int fd = connect_raw(f);
    send_text(fd, long_line);
    read_all(fd, out, sizeof out);
    assert_non_null(strstr(out, "too long"));
    close(fd);
    free(long_line);
}

static void one_client_too_many_is_told_so_and_the_others_go_on(void **state)
{
    struct fixture *f = *state;
    char out[4096];
    int fds[CONTROL_CLIENTS_MAX];
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = connect_raw(f);
        send_text(fds[i], "{\"command\":\"echo\"}\n");
        assert_true(recv(fds[i], out, sizeof out, 0) > 0);
    }
    struct control_client client;
    json_t *request = json_pack("{s:s}", "command", "echo");
    assert_int_equal(control_client_open(&client, f->root), EX_OK);
    json_t *answer = control_client_ask(&client, request, 10000);
    assert_non_null(answer);
    assert_string_equal(json_string_value(json_object_get(answer, "code")), "tempfail");
    json_decref(answer);
    control_client_close(&client);
    close(fds[0]);
    /* The place of the one that left is free as soon as the thread has noticed. */
    for (bool served = false; !served;) {
        assert_int_equal(control_client_open(&client, f->root), EX_OK);
        answer = control_client_ask(&client, request, 10000);
        served = json_is_true(json_object_get(answer, "ok"));
        json_decref(answer);
        control_client_close(&client);
    }
    for (size_t i = 1; i < CONTROL_CLIENTS_MAX; i++) {
        send_text(fds[i], "{\"command\":\"echo\"}\n");
        assert_true(recv(fds[i], out, sizeof out, 0) > 0);
        close(fds[i]);
    }
    json_decref(request);
}

static void an_answer_may_come_later_and_from_another_thread(void **state)
{
    struct fixture *f = *state;
    char out[4096];
    int fd = connect_raw(f);
    send_text(fd, "{\"command\":\"later\"}\n{\"command\":\"echo\"}\n");
    shutdown(fd, SHUT_WR);
    struct control_call *call = wait_for_parked();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
    control_answer(call, json_pack("{s:b}", "late", 1));
    read_all(fd, out, sizeof out);
    assert_int_equal(num_lines(out), 2);
    assert_true(strncmp(out, "{\"late\":true}\n", 14) == 0);
    close(fd);
}

static void a_client_that_leaves_before_its_answer_harms_nobody(void **state)
{
    struct fixture *f = *state;
    char out[4096];
    for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) {
        int fd = connect_raw(f);
        send_text(fd, "{\"command\":\"later\"}\n");
        struct control_call *call = wait_for_parked();
        close(fd);
        control_answer(call, json_object());
    }
    int fd = connect_raw(f);
    send_text(fd, "{\"command\":\"echo\"}\n");
    assert_true(recv(fd, out, sizeof out, 0) > 0);
    close(fd);
}

static void stopping_removes_the_socket_and_does_not_wait_for_idle_clients(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int idle = connect_raw(f);
    send_text(idle, "{\"command\":\"echo\"}\n{\"comm");
    control_stop(f->control);
    control_free(f->control);
    f->control = NULL;
    assert_int_equal(fstatat(f->spool.root_fd, "control", &st, AT_SYMLINK_NOFOLLOW), -1);
    struct control_client client;
    assert_int_equal(control_client_open(&client, f->root), EX_UNAVAILABLE);
    control_client_close(&client);
    close(idle);
}

static void a_call_that_nobody_answers_goes_with_the_socket(void **state)
{
    struct fixture *f = *state;
    int fd = connect_raw(f);
    send_text(fd, "{\"command\":\"later\"}\n");
    (void)wait_for_parked();
    control_stop(f->control);
    control_free(f->control);
    f->control = NULL;
    close(fd);
}

static void a_stale_socket_is_replaced_but_nothing_else(void **state)
{
    struct fixture *f = *state;
    char why[SPOOL_WHY_MAX] = "";
    struct sockaddr_un address = control_address(f->spool.root_fd);
    control_stop(f->control);
    control_free(f->control);
    f->control = NULL;
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
    close(stale);
    f->control = control_new(&f->spool, NULL, why);
    assert_non_null(f->control);
    control_free(f->control);
    f->control = NULL;
    int file = openat(f->spool.root_fd, "control", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_null(control_new(&f->spool, NULL, why));
    assert_non_null(strstr(why, "control"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_the_owner_may_connect),
        TEST(requests_on_one_connection_are_answered_in_order_however_they_are_split),
        TEST(a_request_without_end_is_refused),
        TEST(one_client_too_many_is_told_so_and_the_others_go_on),
        TEST(an_answer_may_come_later_and_from_another_thread),
        TEST(a_client_that_leaves_before_its_answer_harms_nobody),
        TEST(stopping_removes_the_socket_and_does_not_wait_for_idle_clients),
        TEST(a_call_that_nobody_answers_goes_with_the_socket),
        TEST(a_stale_socket_is_replaced_but_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
