/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields of job files by the keys of the release before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "proto/jobspec/yaml/load.h"

static const char minimal[] = "name: j\nkind: pretrain\ndata: /d\nmodel: resnext50_32x4d\n"
                              "world: 1\nbatch: 8\nepochs: 1\n";

struct lines {
    struct wsl_buf text;
    int count;
};

static void keep_line(void *context, const char *line)
{
    struct lines *lines = context;

    wsl_buf_add_format(&lines->text, "%s\n", line);
    lines->count++;
}

/* The key of the release before is read, with a note; nothing prints it any more. */
static void former_keys_are_read_with_a_note(void **state)
{
    static const char *const sets[] = {"gradient_wire=bf16"};
    struct lines notes = {0};
    struct wsl_jobspec_source source = {.file = "j.yaml", .note = keep_line, .context = &notes};
    Wsl__V1__JobSpec *spec = NULL;
    struct wsl_buf text = {0}, printed = {0};
    struct wsl_err err = {0};

    (void)state;
    wsl_buf_add_format(&text, "%sgradient_wire: bf16\n", minimal);
    source.text = (char *)text.data;
    source.size = text.size;
    assert_int_equal(wsl_jobspec_load(&source, &spec, &err), 0);
    assert_string_equal(spec->gradient_dtype, "bf16");
    assert_int_equal(notes.count, 1);
    assert_non_null(
        strstr((char *)notes.text.data, ": gradient_wire is called gradient_dtype now"));
    assert_int_equal(wsl_jobspec_print(spec, &printed), 0);
    wsl_buf_add(&printed, "", 1);
    assert_non_null(strstr((char *)printed.data, "gradient_dtype: bf16"));
    assert_null(strstr((char *)printed.data, "gradient_wire"));
    wsl__v1__job_spec__free_unpacked(spec, NULL);

    source.text = minimal;
    source.size = strlen(minimal);
    source.sets = sets;
    source.set_count = 1;
    assert_int_equal(wsl_jobspec_load(&source, &spec, &err), 0);
    assert_string_equal(spec->gradient_dtype, "bf16");
    assert_int_equal(notes.count, 2);
    assert_non_null(strstr((char *)notes.text.data, "--set gradient_wire=bf16: gradient_wire is"));
    wsl__v1__job_spec__free_unpacked(spec, NULL);

    /* Both keys are one field. */
    wsl_buf_add_text(&text, "gradient_dtype: f32\n");
    source =
        (struct wsl_jobspec_source){.file = "j.yaml", .text = (char *)text.data, .size = text.size};
    assert_int_equal(wsl_jobspec_load(&source, &spec, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "gradient_dtype: is given twice"));
    wsl_buf_free(&notes.text);
    wsl_buf_free(&printed);
    wsl_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(former_keys_are_read_with_a_note)};

    return cmocka_run_group_tests_name("jobspec_former", tests, NULL, NULL);
}
