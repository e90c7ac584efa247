/* SPDX-License-Identifier: Apache-2.0
 *
 * Which GPUs a worker serves and which trainer gets which, on machines that are directories.
 */
#include "base/file.h"
#include "daemon/worker/gpus.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* As the driver's directory on a machine with `count` GPUs, made in another order than the buses'.
 */
static void make_machine(struct wsl_facts *ret, uint32_t count, const char *uuids)
{
    char root[] = "/tmp/wsl-gpus-XXXXXX", path[128];

    memset(ret, 0, sizeof *ret);
    assert_non_null(mkdtemp(root));
    for (uint32_t i = count; i-- > 0;) {
        FILE *file;

        snprintf(path, sizeof path, "%s/0000:%02x:00.0", root, 0x10 * i);
        assert_int_equal(mkdir(path, 0755), 0);
        strcat(path, "/information");
        file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "Model: \t\t NVIDIA H200\nIRQ:   \t\t 62\nGPU UUID: \t ");
        fprintf(file, uuids, i, i);
        fprintf(file, "\nBus Location: \t 0000:%02x:00.0\n", 0x10 * i);
        fclose(file);
    }
    wsl_facts_read_gpus(root, ret);
    assert_int_equal(wsl_file_remove_tree(root, NULL), 0);
}

static void make_usual(struct wsl_facts *ret, uint32_t count)
{
    make_machine(ret, count, "GPU-%02x%02xaaaa-0000-0000-0000-000000000000");
}

static void the_driver_says_what_there_is(void **state)
{
    struct wsl_facts facts;

    (void)state;
    make_usual(&facts, 3);
    assert_int_equal(facts.gpu_count, 3);
    assert_string_equal(facts.gpus[0].name, "NVIDIA H200");
    assert_string_equal(facts.gpus[0].bus, "0000:00:00.0");
    assert_string_equal(facts.gpus[2].uuid, "GPU-0202aaaa-0000-0000-0000-000000000000");
    make_machine(&facts, 1, "GPU-?-?-?-?-?");
    assert_string_equal(facts.gpus[0].uuid, "");
    wsl_facts_read_gpus("/nowhere", &facts);
    assert_int_equal(facts.gpu_count, 0);
}

struct row {
    const char *visible, *wanted;
    const char *ids; /* with blanks between; or the error's text */
};

static void check(const struct wsl_facts *facts, const struct row *row)
{
    struct wsl_gpus gpus = {0};
    struct wsl_err err = {0};
    char ids[1024] = "";

    if (wsl_gpus_choose(&gpus, facts, row->visible, row->wanted, &err) < 0) {
        if (!strstr(err.text, row->ids))
            fail_msg("%s, %s: %s", row->visible, row->wanted, err.text);
        return;
    }
    for (uint32_t i = 0; i < gpus.count; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%.8s", i ? " " : "", gpus.ids[i]);
    assert_string_equal(ids, row->ids);
}

static void lists_are_read_as_cuda_reads_them(void **state)
{
    static const struct row rows[] = {
        {NULL, "all", "GPU-0000 GPU-0101 GPU-0202 GPU-0303"},
        {NULL, "none", ""},
        {NULL, "2,0", "GPU-0202 GPU-0000"},
        {NULL, " 1 , GPU-03", "GPU-0101 GPU-0303"},
        {NULL, "4", "there is no such GPU; 4 are visible, numbered from 0"},
        {NULL, "GPU-0", "4 GPUs begin like that"},
        {NULL, "1,GPU-0101", "names the GPU GPU-0101aaaa-0000-0000-0000-000000000000 twice"},
        {NULL, "", "there is no such GPU"},
        {NULL, "1,,2", "there is no such GPU"},
        {"2,3", "all", "2 3"},
        {"2,3", "1", "3"},
        {"2,3", "2", "2 are visible"},
        {"GPU-02,GPU-03", "all", "GPU-02 GPU-03"},
        {"MIG-0123,MIG-0456", "all", "MIG-0123 MIG-0456"},
        {"0,-1,2", "all", "0"}, /* nothing after an element that names none */
        {"", "all", ""},
        {"-1", "all", ""},
        {"NoDevFiles", "all", ""},
        {"", "0", "no GPU is visible here"},
        {"0,7", "all", "CUDA_VISIBLE_DEVICES names GPU 7; this machine has 4, numbered from 0"},
        {"1,1", "all", "names the GPU 1 twice"},
    };
    struct wsl_facts facts;

    (void)state;
    make_usual(&facts, 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&facts, &rows[i]);
}

static void without_a_driver_the_variable_is_believed(void **state)
{
    const struct wsl_facts nothing = {0};
    struct wsl_gpus gpus;

    (void)state;
    assert_int_equal(wsl_gpus_choose(&gpus, &nothing, NULL, "all", NULL), 0);
    assert_false(gpus.assigned); /* a driver may be there all the same: the trainer finds out */
    assert_int_equal(wsl_gpus_choose(&gpus, &nothing, "0,1", "all", NULL), 0);
    assert_true(gpus.assigned && gpus.count == 2);
    assert_int_equal(wsl_gpus_choose(&gpus, &nothing, NULL, "none", NULL), 0);
    assert_true(gpus.assigned && gpus.count == 0);
}

static void facts_are_of_the_chosen_ones(void **state)
{
    struct wsl_facts facts;
    struct wsl_gpus gpus;

    (void)state;
    make_usual(&facts, 4);
    assert_int_equal(wsl_gpus_choose(&gpus, &facts, "3,GPU-0101,MIG-7", "all", NULL), 0);
    wsl_gpus_limit_facts(&gpus, &facts);
    assert_int_equal(facts.gpu_count, 3);
    assert_string_equal(facts.gpus[0].bus, "0000:30:00.0");
    assert_string_equal(facts.gpus[1].bus, "0000:10:00.0");
    assert_string_equal(facts.gpus[2].name, "GPU");
}

static struct wsl_trainer *start(struct wsl_table *table, const struct wsl_gpus *gpus,
                                 uint32_t rank)
{
    const struct wsl_trainer_key key = {1, 1, rank};
    struct wsl_trainer *t = wsl_table_add(table, &key);

    assert_non_null(t);
    snprintf(t->gpu, sizeof t->gpu, "%s", wsl_gpus_pick(gpus, table));
    return t;
}

static void no_two_trainers_share_while_one_is_free(void **state)
{
    const struct wsl_gpus gpus = {.assigned = true, .count = 3, .ids = {"a", "b", "c"}};
    const struct wsl_gpus none = {.assigned = true};
    struct wsl_trainer *t[4];
    struct wsl_table table;

    (void)state;
    wsl_table_init(&table, 8);
    assert_string_equal(wsl_gpus_pick(&none, &table), "");
    for (uint32_t i = 0; i < 3; i++) {
        t[i] = start(&table, &gpus, i);
        assert_string_equal(t[i]->gpu, gpus.ids[i]);
    }
    wsl_table_ended(t[1], 1, 0, 0);
    t[3] = start(&table, &gpus, 3);
    assert_string_equal(t[3]->gpu, "b");
    assert_string_equal(start(&table, &gpus, 4)->gpu, "a"); /* shared: all are taken */
    wsl_table_fini(&table);
}

static void a_gpu_belongs_to_one_worker_until_it_ends(void **state)
{
    struct wsl_gpus gpus = {.assigned = true, .count = 2};
    struct wsl_err err;
    int gate[2], status;
    pid_t other;
    char byte;

    (void)state;
    snprintf(gpus.ids[0], sizeof gpus.ids[0], "GPU-test-%d-a", (int)getpid());
    snprintf(gpus.ids[1], sizeof gpus.ids[1], "GPU-test-%d-b", (int)getpid());
    assert_int_equal(pipe(gate), 0);
    other = fork();
    if (other == 0) {
        close(gate[0]);
        if (wsl_gpus_lock(&gpus, NULL) == 0 && write(gate[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(gate[1]);
    assert_int_equal(read(gate[0], &byte, 1), 1);
    assert_int_equal(wsl_gpus_lock(&gpus, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, gpus.ids[0]));
    assert_non_null(strstr(err.text, "--gpus"));
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(wsl_gpus_lock(&gpus, &err), 0);
    close(gate[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_driver_says_what_there_is),
        cmocka_unit_test(lists_are_read_as_cuda_reads_them),
        cmocka_unit_test(without_a_driver_the_variable_is_believed),
        cmocka_unit_test(facts_are_of_the_chosen_ones),
        cmocka_unit_test(no_two_trainers_share_while_one_is_free),
        cmocka_unit_test(a_gpu_belongs_to_one_worker_until_it_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
