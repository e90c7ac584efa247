/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports as a tar and as a directory, whole or not at all; on made-up records.
 */
#include "base/file.h"
#include "storage/export/export.h"
#include "tests/unit/tag_sets.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TRAIN = 100, MOVED = 10 };

static const char *const names_b[] = {"hound", "cat", "crane", "bird"};

static size_t tags_of_b(uint64_t record, uint32_t tags[64])
{
    tags[0] = (uint32_t)(record % 3);
    tags[1] = 3;
    return 2;
}

struct fixture {
    char directory[64], data[80], out[80], partial[96];
    struct wsl_dataset *ds;
};

static int make(void **state)
{
    static const struct tag_set set = {.tags = names_b,
                                       .tag_count = 4,
                                       .train = TRAIN,
                                       .heldout = MOVED,
                                       .tags_of = tags_of_b,
                                       .first_heldout = 1};
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->directory, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->data, sizeof f->data, "%s/data", f->directory);
    snprintf(f->out, sizeof f->out, "%s/out", f->directory);
    snprintf(f->partial, sizeof f->partial, "%s.partial", f->out);
    make_tag_set(f->data, &set);
    f->ds = open_set(f->data);
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_dataset_close(f->ds);
    wsl_file_remove_tree(f->directory, NULL);
    free(f);
    return 0;
}

static struct wsl_export_setup setup_of(const struct fixture *f, enum wsl_export_form form)
{
    return (struct wsl_export_setup){.dataset = f->ds,
                                     .form = form,
                                     .output = f->out,
                                     .splits = form == WSL_EXPORT_TAR ? 1 << WSL_SPLIT_TRAIN : 3};
}

static uint64_t count_lines(const char *directory, const char *name)
{
    struct wsl_buf text = {0};
    char path[160];
    uint64_t lines = 0;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(wsl_file_read(path, 1 << 20, &text, NULL), 0);
    for (size_t i = 0; i < text.size; i++)
        lines += text.data[i] == '\n';
    wsl_buf_free(&text);
    return lines;
}

/* ---- tar ---- */

static uint64_t number(const uint8_t *octal, int digits)
{
    uint64_t n = 0;

    for (int i = 0; i < digits; i++)
        n = n * 8 + (uint64_t)(octal[i] - '0');
    return n;
}

/* Walks a tar by its own rules; returns the members. */
static int walk_tar(const struct wsl_buf *tar, const char *names[], int limit)
{
    size_t at = 0;
    int members = 0;

    while (tar->data[at] != 0) {
        uint8_t *head = tar->data + at;
        unsigned sum = 8 * ' ';

        for (int i = 0; i < 512; i++)
            sum += i >= 148 && i < 156 ? 0 : head[i];
        assert_int_equal(number(head + 148, 6), sum);
        assert_memory_equal(head + 257, "ustar", 6);
        assert_true(members < limit);
        names[members++] = (const char *)head;
        at += 512 + (number(head + 124, 11) + 511) / 512 * 512;
        assert_true(at + 1024 <= tar->size);
    }
    assert_int_equal(tar->size, at + 1024);
    return members;
}

static void a_tar_has_an_image_and_a_description_of_each_record(void **state)
{
    struct fixture *f = *state;
    struct wsl_export_setup setup = {
        .dataset = f->ds, .form = WSL_EXPORT_TAR, .splits = 1 << WSL_SPLIT_HELDOUT};
    const char *names[3 * MOVED];
    struct wsl_export_result result;
    struct wsl_buf tar = {0}, again = {0};
    char path[2][96];

    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%d.tar", f->directory, i);
        setup.output = path[i];
        assert_int_equal(wsl_export(&setup, &result, NULL), 0);
    }
    assert_int_equal(result.images, MOVED);
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EEXIST);
    setup.splits = 3;
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EINVAL);
    assert_int_equal(wsl_file_read(path[0], 1 << 20, &tar, NULL), 0);
    assert_int_equal(wsl_file_read(path[1], 1 << 20, &again, NULL), 0);
    assert_int_equal(tar.size, again.size);
    assert_memory_equal(tar.data, again.data, tar.size);
    assert_int_equal(walk_tar(&tar, names, 3 * MOVED), 2 * MOVED);
    assert_string_equal(names[0], "00000000.jpg");
    assert_string_equal(names[2 * MOVED - 1], "00000009.json");
    assert_string_equal(names[0] + 512, "no JPEG, of picture 1");
    assert_string_equal(names[1] + 512,
                        "{\"tags\":[\"cat\",\"bird\"],\"ids\":[1,3],\"source\":\"picture-1\","
                        "\"width\":40,\"height\":30}");
    wsl_buf_free(&tar);
    wsl_buf_free(&again);
}

/* ---- whole or not at all ---- */

static const enum wsl_export_form forms[] = {WSL_EXPORT_DIRECTORY, WSL_EXPORT_TAR};

/* `context`: the record after which to die; 0: the last. */
static void die(void *context, uint64_t done, uint64_t total)
{
    uint64_t when = *(const uint64_t *)context;

    if (done == (when ? when : total))
        raise(SIGKILL);
}

/* What is there of the output afterwards: whatever was killed where, nothing or all. */
static void a_killed_export_leaves_no_output_and_is_done_again(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 6; i++) {
        static uint64_t when[] = {1, 7, 0};
        const int k = i % 2;
        struct wsl_export_setup setup = setup_of(f, forms[k]);
        struct wsl_export_result result;
        char stray[128];
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            setup.progress = die;
            setup.context = &when[i / 2];
            wsl_export(&setup, &result, NULL);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_false(wsl_file_exists(f->out));
        assert_true(wsl_file_exists(f->partial));
        snprintf(stray, sizeof stray, "%s/stray", f->partial);
        assert_int_equal(wsl_file_write_atomic(stray, "x", 1, NULL), 0);
        assert_int_equal(wsl_export(&setup, &result, NULL), 0);
        assert_int_equal(result.images, forms[k] == WSL_EXPORT_TAR ? TRAIN : TRAIN + MOVED);
        assert_true(wsl_file_exists(f->out));
        assert_false(wsl_file_exists(f->partial));
        if (forms[k] == WSL_EXPORT_DIRECTORY) {
            assert_int_equal(count_lines(f->out, "train.tsv"), TRAIN);
            assert_int_equal(count_lines(f->out, "heldout.tsv"), MOVED);
            snprintf(stray, sizeof stray, "%s/stray", f->out);
            assert_false(wsl_file_exists(stray));
        }
        assert_int_equal(wsl_file_remove_tree(f->out, NULL), 0);
    }
}

struct meeting {
    struct fixture *f;
    int tried;
};

/* While one export runs, another one of the same output starts. */
static void start_another(void *context, uint64_t done, uint64_t total)
{
    struct meeting *m = context;
    struct wsl_export_setup setup = setup_of(m->f, WSL_EXPORT_DIRECTORY);
    struct wsl_export_result result;
    struct wsl_err err;

    (void)total;
    if (done != 7)
        return;
    m->tried++;
    assert_int_equal(wsl_export(&setup, &result, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, "another export writes"));
    assert_true(wsl_file_exists(m->f->partial));
}

static void a_second_export_leaves_the_first_alone(void **state)
{
    struct fixture *f = *state;

    for (int k = 0; k < 2; k++) {
        struct meeting meeting = {f, 0};
        struct wsl_export_setup setup = setup_of(f, forms[k]);
        struct wsl_export_result result;

        setup.progress = start_another;
        setup.context = &meeting;
        assert_int_equal(wsl_export(&setup, &result, NULL), 0);
        assert_int_equal(meeting.tried, 1);
        assert_false(wsl_file_exists(f->partial));
        assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EEXIST);
        assert_int_equal(wsl_file_remove_tree(f->out, NULL), 0);
    }
}

/* An output that came into being meanwhile is not replaced. */
static void put_in_the_way(void *context, uint64_t done, uint64_t total)
{
    struct fixture *f = context;

    if (done == total)
        assert_int_equal(wsl_file_write_atomic(f->out, "mine", 4, NULL), 0);
}

static void an_output_that_came_meanwhile_stays(void **state)
{
    struct fixture *f = *state;

    for (int k = 0; k < 2; k++) {
        struct wsl_export_setup setup = setup_of(f, forms[k]);
        struct wsl_export_result result;
        struct wsl_buf text = {0};

        setup.progress = put_in_the_way;
        setup.context = f;
        assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EEXIST);
        assert_int_equal(wsl_file_read(f->out, 100, &text, NULL), 0);
        assert_int_equal(text.size, 4);
        assert_false(wsl_file_exists(f->partial));
        wsl_buf_free(&text);
        assert_int_equal(wsl_file_remove_tree(f->out, NULL), 0);
    }
}

/* One that died between its last two steps leaves an empty directory beside its output; one with a
 * tar in it is another's work. */
static void what_a_published_tar_left_is_removed(void **state)
{
    struct fixture *f = *state;
    struct wsl_export_setup setup = setup_of(f, WSL_EXPORT_TAR);
    struct wsl_export_result result;
    char tar[128];

    assert_int_equal(wsl_export(&setup, &result, NULL), 0);
    assert_int_equal(wsl_file_make_directories(f->partial, NULL), 0);
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EEXIST);
    assert_false(wsl_file_exists(f->partial));
    assert_int_equal(wsl_file_make_directories(f->partial, NULL), 0);
    snprintf(tar, sizeof tar, "%s/tar", f->partial);
    assert_int_equal(wsl_file_write_atomic(tar, "x", 1, NULL), 0);
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EEXIST);
    assert_true(wsl_file_exists(tar));
    assert_true(wsl_file_exists(f->out));
}

static void failures_keep_their_code_and_leave_nothing(void **state)
{
    struct fixture *f = *state;
    struct wsl_export_setup setup = setup_of(f, WSL_EXPORT_DIRECTORY);
    struct wsl_export_result result;
    atomic_bool cancel = true;
    struct wsl_err err;
    char path[96];

    setup.cancel = &cancel;
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_ECANCELLED);
    assert_false(wsl_file_exists(f->partial));
    setup.cancel = NULL;
    setup.output = "";
    assert_int_equal(wsl_export(&setup, &result, NULL), WSL_EINVAL);
    snprintf(path, sizeof path, "%s/data/dataset.json/x", f->directory); /* below a file */
    setup.output = path;
    assert_int_not_equal(wsl_export(&setup, &result, &err), WSL_EIO);
    assert_non_null(strstr(err.text, "dataset.json"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(a_tar_has_an_image_and_a_description_of_each_record),
        CASE(a_killed_export_leaves_no_output_and_is_done_again),
        CASE(a_second_export_leaves_the_first_alone),
        CASE(an_output_that_came_meanwhile_stays),
        CASE(what_a_published_tar_left_is_removed),
        CASE(failures_keep_their_code_and_leave_nothing),
    };

    return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
