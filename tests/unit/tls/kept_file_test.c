/* Files that are kept between runs: how they are opened, and replaced as a whole or not at all. */
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"
#include "tls/kept_file.h"

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/kept_file_test.XXXXXX";
static char *path, *draft_path;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    path = mem_printf("%s/file", folder);
    draft_path = mem_printf("%s/file.part", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    free(path);
    free(draft_path);
    return rmdir(folder); /* fails when a draft was left */
}

static int replace(const char *content, bool folder_too)
{
    struct kept_file_draft draft;
    kept_file_draft_begin(&draft, path, ".part");
    kept_file_draft_write(&draft, bytes_of(content));
    return kept_file_draft_end(&draft, folder_too);
}

static void assert_content(const char *expected)
{
    struct stat status;
    char content[64] = "";
    int fd = kept_file_open(path, &status);
    assert_true(fd >= 0);
    assert_int_equal(status.st_size, strlen(expected));
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(read(fd, content, sizeof content - 1), strlen(expected));
    assert_string_equal(content, expected);
    close(fd);
}

static void replaces_the_file_and_what_an_earlier_draft_left(void **state)
{
    (void)state;
    for (int folder_too = 0; folder_too < 2; folder_too++) {
        assert_int_equal(replace("one", folder_too), 0);
        int left = open(draft_path, O_WRONLY | O_CREAT, 0666);
        assert_int_equal(write(left, "half of a longer one", 20), 20);
        close(left);
        assert_content("one");
        assert_int_equal(replace("two", folder_too), 0);
        assert_content("two");
        assert_int_equal(access(draft_path, F_OK), -1);
    }
}

static void writes_nothing_through_a_link_in_the_place_of_the_draft(void **state)
{
    (void)state;
    assert_int_equal(replace("one", false), 0);
    assert_int_equal(symlink(path, draft_path), 0);
    assert_int_equal(replace("two", false), 0);
    assert_content("two");
}

static void keeps_the_file_when_a_draft_cannot_be_finished(void **state)
{
    struct kept_file_draft draft;
    (void)state;
    assert_int_equal(replace("one", false), 0);
    kept_file_draft_begin(&draft, path, ".part");
    int fd = draft.fd;
    draft.fd = open(draft_path, O_RDONLY); /* refuses to be written */
    close(fd);
    kept_file_draft_write(&draft, bytes_of("two"));
    kept_file_draft_write(&draft, bytes_of("more"));
    assert_int_equal(kept_file_draft_end(&draft, true), -EBADF);
    assert_content("one");
    assert_int_equal(access(draft_path, F_OK), -1);
    assert_int_equal(mkdir(draft_path, 0700), 0); /* the draft cannot even begin */
    assert_int_equal(replace("two", true), -EEXIST);
    assert_int_equal(rmdir(draft_path), 0);
    assert_content("one");
}

static void opens_no_link_and_does_not_wait_for_a_fifo(void **state)
{
    struct stat status;
    (void)state;
    unlink(path);
    assert_int_equal(kept_file_open(path, &status), -ENOENT);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(kept_file_open(path, &status), -ELOOP);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = kept_file_open(path, &status);
    assert_true(fd >= 0 && S_ISFIFO(status.st_mode));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_the_file_and_what_an_earlier_draft_left),
        cmocka_unit_test(writes_nothing_through_a_link_in_the_place_of_the_draft),
        cmocka_unit_test(keeps_the_file_when_a_draft_cannot_be_finished),
        cmocka_unit_test(opens_no_link_and_does_not_wait_for_a_fifo),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
