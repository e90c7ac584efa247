/* SPDX-License-Identifier: Apache-2.0
 *
 * The contact sheet: what it shows, and that nothing in a data set becomes markup.
 */
#include "base/crc32c.h"
#include "base/file.h"
#include "kernels/image/image.h"
#include "storage/dataset/dataset_writer.h"
#include "storage/export/contact_sheet.h"
#include "storage/export/html.h"
#include "tests/unit/tag_sets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GOOD_WIDTH = 200, GOOD_HEIGHT = 100, SIDE = 64 };

static const char *const names[] = {
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "caf\xc3\xa9 & \xe7\x8a\xac",
    "</figcaption>'",
};
static const char hostile_source[] = "a\"><script>alert(3)</script>\n.jpg";

static char directory[64];

static struct wsl_buf make_jpeg(int width, int height)
{
    struct wsl_image image = {malloc((size_t)(width * height * 3)), width, height};
    struct wsl_buf jpeg = {0};

    for (int i = 0; i < width * height * 3; i++)
        image.pixels[i] = (uint8_t)i;
    assert_int_equal(wsl_image_encode_jpeg(&image, 90, &jpeg, NULL), 0);
    wsl_image_free(&image);
    return jpeg;
}

static void add_record(struct wsl_dataset_writer *w, const struct wsl_buf *jpeg, uint32_t tag)
{
    struct wsl_record record = {.jpeg = jpeg->data,
                                .jpeg_size = jpeg->size,
                                .width = GOOD_WIDTH,
                                .height = GOOD_HEIGHT,
                                .crc32c = wsl_crc32c(0, jpeg->data, jpeg->size),
                                .pixel_hash = tag};
    struct wsl_err err;

    snprintf(record.source, sizeof record.source, "%s", hostile_source);
    if (wsl_dataset_writer_add(w, WSL_SPLIT_TRAIN, &record, &tag, 1, &err) < 0)
        fail_msg("%s", err.text);
    w->info.tags[tag].train++;
}

/* Records 0 to 3: a large image, a small one, no JPEG at all, a large one; each with one tag. */
static int make(void **state)
{
    struct wsl_buf large = make_jpeg(GOOD_WIDTH, GOOD_HEIGHT), small = make_jpeg(30, 20);
    struct wsl_buf none = {0};
    struct wsl_dataset_writer w;
    json_t *source = json_pack("{ss}", "path", "made for a test");
    char path[80];

    strcpy(directory, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/data", directory);
    assert_int_equal(wsl_dataset_writer_open(&w, path, "<b>trial</b>", "tags", NULL), 0);
    w.info.tags = calloc(4, sizeof *w.info.tags);
    w.info.tag_count = 4;
    for (int t = 0; t < 4; t++)
        w.info.tags[t] = (struct wsl_tag){.name = strdup(names[t]), .synset = strdup("")};
    assert_int_equal(wsl_buf_add_text(&none, "no JPEG"), 0);
    add_record(&w, &large, 0);
    add_record(&w, &small, 1);
    add_record(&w, &none, 2);
    add_record(&w, &large, 3);
    assert_int_equal(wsl_dataset_writer_finish(&w, source, NULL), 0);
    wsl_dataset_writer_close(&w);
    json_decref(source);
    wsl_buf_free(&large);
    wsl_buf_free(&small);
    wsl_buf_free(&none);
    *state = open_set(path);
    return 0;
}

static int clear(void **state)
{
    wsl_dataset_close(*state);
    return wsl_file_remove_tree(directory, NULL);
}

static const uint64_t records[] = {3, 2, 1, 0, 4};

static struct wsl_contact_sheet_setup setup_of(struct wsl_dataset *ds, size_t count)
{
    return (struct wsl_contact_sheet_setup){.dataset = ds,
                                            .records = records,
                                            .count = count,
                                            .columns = 2,
                                            .side = SIDE,
                                            .quality = 90};
}

static char *make_page(struct wsl_dataset *ds, size_t count)
{
    struct wsl_contact_sheet_setup setup = setup_of(ds, count);
    struct wsl_buf page = {0};
    struct wsl_err err;

    if (wsl_contact_sheet_make(&setup, &page, &err) < 0)
        fail_msg("%s", err.text);
    return (char *)page.data;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void a_page_has_each_image_with_number_and_tags(void **state)
{
    char *page = make_page(*state, 4);

    assert_int_equal(strncmp(page, "<!DOCTYPE html>", 15), 0);
    assert_int_equal(count(page, "<figure"), 4);
    assert_int_equal(count(page, "</figure>"), 4);
    assert_int_equal(count(page, "<img "), 3);
    assert_int_equal(count(page, ">unreadable<"), 1);
    for (int i = 0; i < 4; i++) {
        char number[16];

        snprintf(number, sizeof number, "<b>%d</b>", i);
        assert_int_equal(count(page, number), 1);
    }
    assert_true(strstr(page, "<b>3</b>") < strstr(page, "<b>0</b>")); /* as asked for */
    assert_non_null(strstr(page, "<bdi>caf\xc3\xa9 &amp; \xe7\x8a\xac</bdi>"));
    assert_non_null(strstr(page, "repeat(2, 64px)"));
    assert_string_equal(page + strlen(page) - 8, "</html>\n");
    free(page);
}

/* Tags, sources and names come from strangers: the only elements are those of the page itself. */
static void nothing_in_a_data_set_becomes_markup(void **state)
{
    char *page = make_page(*state, 4);

    assert_int_equal(count(page, "<script"), 0);
    assert_int_equal(count(page, "</script"), 0);
    assert_int_equal(count(page, "<b>trial"), 0);
    assert_int_equal(count(page, "onerror=alert(2)&gt;"), 1);
    assert_int_equal(count(page, "&quot;&gt;&lt;img src=x"), 1);
    assert_int_equal(count(page, "&lt;/figcaption&gt;&#39;"), 1);
    assert_int_equal(count(page, "a&quot;&gt;&lt;script&gt;alert(3)&lt;/script&gt;"), 3);
    assert_int_equal(count(page, "default-src 'none'"), 1);
    free(page);
}

static uint32_t value_of(char digit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    return digit == '=' ? 0 : (uint32_t)(strchr(digits, digit) - digits);
}

/* The bytes of the next data: URL, or an empty buffer. */
static struct wsl_buf next_image(char **at)
{
    static const char begin[] = "src=\"data:image/jpeg;base64,";
    struct wsl_buf jpeg = {0};
    char *p = strstr(*at, begin);

    if (!p)
        return jpeg;
    for (p += strlen(begin); *p != '"'; p += 4) {
        uint32_t three =
            value_of(p[0]) << 18 | value_of(p[1]) << 12 | value_of(p[2]) << 6 | value_of(p[3]);
        uint8_t bytes[3] = {(uint8_t)(three >> 16), (uint8_t)(three >> 8), (uint8_t)three};

        assert_int_equal(wsl_buf_add(&jpeg, bytes, p[2] == '=' ? 1 : p[3] == '=' ? 2 : 3), 0);
    }
    *at = p;
    return jpeg;
}

static void images_are_as_small_as_they_are_shown(void **state)
{
    static const int sizes[3][2] = {{SIDE, SIDE / 2}, {30, 20}, {SIDE, SIDE / 2}};
    char *page = make_page(*state, 4), *at = page;

    for (int i = 0; i < 3; i++) {
        struct wsl_buf jpeg = next_image(&at);
        struct wsl_image image;

        assert_int_equal(wsl_image_decode(jpeg.data, jpeg.size, NULL, &image, NULL), 0);
        assert_int_equal(image.width, sizes[i][0]);
        assert_int_equal(image.height, sizes[i][1]);
        wsl_image_free(&image);
        wsl_buf_free(&jpeg);
    }
    assert_int_equal(next_image(&at).size, 0);
    free(page);
}

static void what_cannot_be_made_is_refused(void **state)
{
    struct wsl_contact_sheet_setup setup = setup_of(*state, 5); /* the last is no record */
    struct wsl_buf page = {0}, tight = {.limit = 4000};
    struct wsl_err err;

    assert_int_equal(wsl_contact_sheet_make(&setup, &page, &err), WSL_EINVAL);
    setup.count = 0;
    assert_int_equal(wsl_contact_sheet_make(&setup, &page, &err), WSL_EINVAL);
    setup.count = 4;
    setup.quality = 0;
    assert_int_equal(wsl_contact_sheet_make(&setup, &page, &err), WSL_EINVAL);
    setup.quality = 90;
    assert_int_equal(wsl_contact_sheet_make(&setup, &tight, &err), WSL_ELIMIT);
    assert_non_null(strstr(err.text, "fewer or smaller"));
    wsl_buf_free(&page);
    wsl_buf_free(&tight);
}

static void texts_are_shown_as_they_are(void **state)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"&<>\"'", "&amp;&lt;&gt;&quot;&#39;"},
        {"a<b", "a&lt;b"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"a\tb\x7f", "a\xef\xbf\xbd"
                     "b\xef\xbf\xbd"},
        {"\xff<\xc3", "\xef\xbf\xbd&lt;\xef\xbf\xbd"},
        {"\xc2\x85", "\xef\xbf\xbd"}, /* a control character of Latin-1 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wsl_buf out = {0};

        assert_int_equal(wsl_html_add_text(&out, rows[i][0]), 0);
        assert_string_equal(out.data ? (char *)out.data : "", rows[i][1]);
        wsl_buf_free(&out);
    }
}

/* The vectors of RFC 4648, section 10. */
static void base64_is_that_of_the_rfc(void **state)
{
    static const char *const rows[][2] = {
        {"f", "Zg=="},        {"fo", "Zm8="},        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wsl_buf out = {0};

        assert_int_equal(wsl_html_add_base64(&out, (const uint8_t *)rows[i][0], strlen(rows[i][0])),
                         0);
        assert_string_equal((char *)out.data, rows[i][1]);
        wsl_buf_free(&out);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(a_page_has_each_image_with_number_and_tags),
        CASE(nothing_in_a_data_set_becomes_markup),
        CASE(images_are_as_small_as_they_are_shown),
        CASE(what_cannot_be_made_is_refused),
        cmocka_unit_test(texts_are_shown_as_they_are),
        cmocka_unit_test(base64_is_that_of_the_rfc),
    };

    return cmocka_run_group_tests_name("contact_sheet", tests, NULL, NULL);
}
