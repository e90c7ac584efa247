/* SPDX-License-Identifier: Apache-2.0 */
#include "base/args.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/file.h"
#include "base/library.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/number.h"
#include "base/program.h"
#include "base/rng.h"
#include "base/stdfds.h"
#include "base/text_input.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void error_text_is_cut_and_prefixed(void **state)
{
    struct wsl_err err = {0};
    char longest[1000];

    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(wsl_fail(&err, WSL_ENOENT, "no %s", "shard"), WSL_ENOENT);
    assert_string_equal(err.text, "no shard");
    assert_int_equal(wsl_err_prefix(&err, "job %d", 7), WSL_ENOENT);
    assert_string_equal(err.text, "job 7: no shard");
    wsl_fail(&err, WSL_ENOENT, "no %s", "a\nb\x1b[31m\x7f\xc3\xa4");
    assert_string_equal(err.text, "no a?b?[31m?\xc3\xa4");
    wsl_fail(&err, WSL_EIO, "%s", longest);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 4, "...");
    assert_int_equal(wsl_fail(NULL, WSL_EIO, "nobody listens"), WSL_EIO);
    assert_string_equal(wsl_err_name(WSL_ENOENT), "not found");
}

static void buffer_keeps_its_limit(void **state)
{
    struct wsl_buf b = {.limit = 10};

    (void)state;
    assert_int_equal(wsl_buf_add_text(&b, "12345"), 0);
    assert_int_equal(wsl_buf_add_format(&b, "%s", "678901"), WSL_ELIMIT);
    assert_string_equal((char *)b.data, "12345");
    assert_int_equal(wsl_buf_add_format(&b, "%d", 67890), 0);
    wsl_buf_drop(&b, 8);
    assert_string_equal((char *)b.data, "90");
    wsl_buf_free(&b);
    assert_null(b.data);
}

static void libraries_are_loaded_when_needed(void **state)
{
    double (*cosine)(double) = NULL;
    void *nothing = NULL;
    const struct wsl_library_symbol good = {"cos", (void **)&cosine};
    const struct wsl_library_symbol bad = {"wsl_no_such_function", &nothing};
    char folder[] = "/tmp/wsl-library-XXXXXX", path[64], directories[96];
    struct wsl_err err;

    (void)state;
    assert_int_equal(wsl_library_load("libm.so.6", "", &good, 1, &err), 0);
    assert_true(cosine(0) == 1.0);
    assert_int_equal(wsl_library_load("libm.so.6", "", &bad, 1, &err), WSL_EUNSUPPORTED);
    assert_string_equal(err.text, "libm.so.6 has no wsl_no_such_function: it is too old");
    /* What the loader does not find may lie in one of the directories. */
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/libwsl-base.so", folder);
    snprintf(directories, sizeof directories, ":/nowhere:%s", folder);
    assert_int_equal(wsl_library_load("libwsl-base.so", directories, &good, 1, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "libwsl-base.so"));
    assert_int_equal(symlink("/lib/x86_64-linux-gnu/libm.so.6", path), 0);
    if (access(path, R_OK) == 0) /* Debian's place for it */
        assert_int_equal(wsl_library_load("libwsl-base.so", directories, &good, 1, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void crc_matches_the_published_vectors(void **state)
{
    uint8_t bytes[32];

    (void)state;
    /* RFC 3720, B.4: 32 bytes of zeros, of ones, and ascending. */
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(wsl_crc32c(0, bytes, 32), 0x8A9136AAu);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(wsl_crc32c(0, bytes, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(wsl_crc32c(0, bytes, 32), 0x46DD794Eu);
    assert_int_equal(wsl_crc32c(wsl_crc32c(0, bytes, 5), bytes + 5, 27), 0x46DD794Eu);
    for (size_t n = 0; n <= 32; n++)
        assert_int_equal(wsl_crc32c(7, bytes, n), wsl_crc32c_portable(7, bytes, n));
}

static void philox_matches_the_published_vectors(void **state)
{
    uint32_t w[4];

    (void)state;
    /* Known answers of the authors' Random123 distribution: all zeros, all ones, digits of pi. */
    wsl_philox(0, 0, 0, w);
    assert_int_equal(w[0], 0x6627e8d5u);
    assert_int_equal(w[1], 0xe169c58du);
    assert_int_equal(w[2], 0xbc57ac4cu);
    assert_int_equal(w[3], 0x9b00dbd8u);
    wsl_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, w);
    assert_int_equal(w[0], 0x408f276du); /* of w[0] */
    wsl_philox(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u, w);
    assert_int_equal(w[0], 0xd16cfe09u);
    assert_int_equal(w[1], 0x94fdccebu);
    assert_int_equal(w[2], 0x5001e420u);
    assert_int_equal(w[3], 0x24126ea1u);
}

static void permutation_hits_everything_once(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 5, 64, 1000, 4097};

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t n = sizes[s];
        char *seen = calloc(1, n);
        uint64_t fixed = 0;

        for (uint64_t i = 0; i < n; i++) {
            uint64_t to = wsl_permute(42, n, i);

            assert_true(to < n);
            assert_false(seen[to]);
            seen[to] = 1;
            fixed += to == i;
        }
        if (n >= 1000)
            assert_true(fixed < 12); /* one is expected; 12 has probability under 1e-9 */
        free(seen);
    }
}

static void draws_are_uniform_enough(void **state)
{
    struct wsl_rng rng;
    int counts[10] = {0};
    double sum = 0, squares = 0;

    (void)state;
    wsl_rng_start(&rng, 1, 2);
    for (int i = 0; i < 100000; i++)
        counts[wsl_rng_below(&rng, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9500, 10500); /* 5 deviations */
    for (int i = 0; i < 100000; i++) {
        double x = wsl_rng_normal(&rng);

        sum += x;
        squares += x * x;
    }
    assert_true(sum > -2000 && sum < 2000);
    assert_true(squares > 97000 && squares < 103000);
}

static void times_print_as_utc(void **state)
{
    char text[WSL_CLOCK_TEXT_SIZE];

    (void)state;
    wsl_clock_text(1525255872345, text);
    assert_string_equal(text, "2018-05-02T10:11:12.345Z");
    wsl_clock_text(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

static void files_are_replaced_whole(void **state)
{
    char folder[] = "/tmp/wsl-test-XXXXXX";
    char path[PATH_MAX], deep[PATH_MAX];
    struct wsl_buf b = {0};
    struct wsl_err err = {0};
    int fd, other;

    (void)state;
    assert_non_null(mkdtemp(folder));
    wsl_file_join(deep, sizeof deep, folder, "a/b/c");
    assert_int_equal(wsl_file_make_directories(deep, &err), 0);
    assert_int_equal(wsl_file_make_directories(deep, &err), 0);
    wsl_file_join(path, sizeof path, deep, "x");
    assert_int_equal(wsl_file_write_atomic(path, "one", 3, &err), 0);
    assert_int_equal(wsl_file_write_atomic(path, "three", 5, &err), 0);
    assert_int_equal(wsl_file_read(path, 100, &b, &err), 0);
    assert_string_equal((char *)b.data, "three");
    assert_int_equal(wsl_file_read(path, 4, &b, &err), WSL_ELIMIT);
    assert_int_equal(b.size, 5); /* as it was */
    wsl_buf_free(&b);
    assert_int_equal(wsl_file_read(path, 4, &b, &err), WSL_ELIMIT);
    assert_null(b.data); /* nothing to free */
    assert_int_equal(wsl_file_make_directories(path, &err), WSL_EEXIST);
    assert_int_equal(wsl_file_read("/nonexistent/x", 4, &b, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x"));
    assert_int_equal(wsl_file_lock(path, &fd, &err), 0);
    assert_int_equal(wsl_file_lock(path, &other, &err), WSL_EEXIST);
    close(fd);
    assert_int_equal(wsl_file_remove_tree(folder, &err), 0);
    assert_int_equal(wsl_file_remove_tree(folder, &err), 0);
    assert_false(wsl_file_exists(folder));
    wsl_buf_free(&b);
}

static int parse(const char *line, bool *flag, const char **text, uint64_t *number, int *words,
                 struct wsl_err *err)
{
    const struct wsl_arg rows[] = {
        {.name = "loud", .letter = 'l', .type = WSL_ARG_FLAG, .target = flag},
        {.name = "listen", .type = WSL_ARG_TEXT, .target = text, .value = "ADDRESS"},
        {.name = "count",
         .letter = 'c',
         .type = WSL_ARG_UINT,
         .target = number,
         .min = 1,
         .max = 9},
    };
    const struct wsl_args args = {.rows = rows, .row_count = 3};
    static char copy[200];
    char *argv[10] = {(char *)"program"};
    int argc = 1;

    snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
        argv[argc++] = w;
    return wsl_args_parse(&args, argc, argv, words, err);
}

static void options_are_parsed_and_refused(void **state)
{
    bool flag = false;
    const char *text = "default";
    uint64_t number = 5;
    int words;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(parse("one --listen here -l two -c 7", &flag, &text, &number, &words, &err),
                     0);
    assert_true(flag);
    assert_string_equal(text, "here");
    assert_int_equal(number, 7);
    assert_int_equal(words, 2);
    assert_int_equal(parse("--count 10", &flag, &text, &number, &words, &err), WSL_EINVAL);
    assert_string_equal(err.text, "--count: 10 is outside 1 to 9");
    assert_int_equal(parse("--count -3", &flag, &text, &number, &words, &err), WSL_EINVAL);
    assert_int_equal(parse("--listen", &flag, &text, &number, &words, &err), WSL_EINVAL);
    assert_string_equal(err.text, "--listen needs a value; see --help");
    assert_int_equal(parse("--nonsense", &flag, &text, &number, &words, &err), WSL_EINVAL);
    assert_string_equal(err.text, "unknown option --nonsense; see --help");
    assert_int_equal(parse("-z", &flag, &text, &number, &words, &err), WSL_EINVAL);
    assert_string_equal(err.text, "unknown option -z; see --help");
}

static void find_no_program(void **state)
{
    char path[PATH_MAX];
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_program_find("wsl-of-no-such-name", path, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "no wsl-of-no-such-name in /"));
}

static void find_a_program_beside(void **state)
{
    char self[PATH_MAX], path[PATH_MAX];
    struct wsl_err err = {0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    (void)state;
    assert_true(n > 0);
    self[n] = '\0';
    assert_int_equal(wsl_program_find(strrchr(self, '/') + 1, path, &err), 0);
    assert_string_equal(path, self);
}

static void wrong_options_name_the_right_ones(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"--lisen here", "unknown option --lisen (did you mean '--listen'?); see --help"},
        {"--coutn=3", "unknown option --coutn (did you mean '--count'?); see --help"},
        {"--l here", "--l may be any of --loud, --listen"},
        {"--loud=3", "--loud takes no value; see --help"},
        {"--help=3", "--help has no value '3'"},
        {"--loud -zl", "unknown option -z; see --help"},
    };
    const char *text = NULL;
    struct wsl_err err = {0};
    uint64_t number = 5;
    bool flag = false;
    int words;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].line, &flag, &text, &number, &words, &err), WSL_EINVAL);
        assert_string_equal(err.text, cases[i].text);
    }
}

/* A child without its standard descriptors: the next file must not land on one, and writing to
 * standard output must not seem to work. */
static void closed_descriptors_are_taken(void **state)
{
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        char byte = 0;
        int fd;

        close(0);
        close(1);
        close(2);
        wsl_stdfds_open();
        fd = open("/dev/null", O_RDWR);
        _exit(fd <= 2                                                ? 1
              : write(1, &byte, 1) != -1 || errno != EBADF           ? 2
              : read(0, &byte, 1) != -1 || errno != EBADF            ? 3
              : write(2, &byte, 1) != -1 || write(fd, &byte, 1) != 1 ? 4
                                                                     : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void options_may_be_given_many_times(void **state)
{
    struct wsl_arg_list list = {0};
    const struct wsl_arg rows[] = {
        {.name = "set", .letter = 's', .type = WSL_ARG_LIST, .target = &list, .value = "X"}};
    const struct wsl_args args = {.rows = rows, .row_count = 1};
    char *argv[140] = {(char *)"program", (char *)"--set", (char *)"a",
                       (char *)"word",    (char *)"-s",    (char *)"b=1"};
    struct wsl_err err = {0};
    int words;

    (void)state;
    assert_int_equal(wsl_args_parse(&args, 6, argv, &words, &err), 0);
    assert_int_equal(words, 1);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0], "a");
    assert_string_equal(list.items[1], "b=1");
    for (int i = 1; i < 139; i += 2) {
        argv[i] = (char *)"-s";
        argv[i + 1] = (char *)"x";
    }
    list.count = 0;
    assert_int_equal(wsl_args_parse(&args, 139, argv, &words, &err), WSL_ELIMIT);
    assert_int_equal(list.count, 64);
}

struct numbered_mail {
    struct wsl_mail mail;
    int number;
};

static struct {
    struct wsl_mailbox *box;
    int seen;
    struct numbered_mail mails[1000];
} boxed;

static void on_mail(struct wsl_mail *mail)
{
    struct numbered_mail *m = (struct numbered_mail *)mail;

    assert_int_equal(m->number, boxed.seen);
    if (++boxed.seen == 1000)
        wsl_mailbox_close(boxed.box);
}

static void *post_all(void *unused)
{
    for (int i = 0; i < 1000; i++) {
        boxed.mails[i] = (struct numbered_mail){.mail.run = on_mail, .number = i};
        while (wsl_mailbox_post(boxed.box, &boxed.mails[i].mail) == WSL_ELIMIT)
            sched_yield();
    }
    return unused;
}

static void mail_arrives_in_order(void **state)
{
    uv_loop_t loop;
    pthread_t thread;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(wsl_mailbox_open(&boxed.box, &loop, 16, NULL), 0);
    pthread_create(&thread, NULL, post_all, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    assert_int_equal(boxed.seen, 1000);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- map ---- */

static void map_finds_all_entries_of_a_hash_newest_first(void **state)
{
    enum { ENTRIES = 5000, HASHES = 700 };
    static struct wsl_map_entry entries[ENTRIES];
    struct wsl_map map = {0};
    size_t left = 0;

    (void)state;
    assert_null(wsl_map_first(&map, 1));
    for (size_t i = 0; i < ENTRIES; i++) {
        entries[i].hash = i % HASHES;
        assert_int_equal(wsl_map_add(&map, &entries[i]), 0);
    }
    for (size_t i = 0; i < ENTRIES; i += 3)
        wsl_map_remove(&map, &entries[i]);
    for (uint64_t hash = 0; hash < HASHES; hash++) {
        const struct wsl_map_entry *newer = entries + ENTRIES;

        for (struct wsl_map_entry *e = wsl_map_first(&map, hash); e; e = wsl_map_next(e)) {
            assert_int_equal(e->hash, hash);
            assert_true(e < newer && (e - entries) % 3 != 0);
            newer = e;
            left++;
        }
    }
    assert_int_equal(left, map.count);
    assert_int_equal(left, ENTRIES - (ENTRIES + 2) / 3);
    wsl_map_free(&map);
}

static void log_levels_have_words(void **state)
{
    enum wsl_log_level level;

    (void)state;
    assert_int_equal(wsl_log_level_parse("warn", &level, NULL), 0);
    assert_int_equal(level, WSL_LOG_WARN);
    assert_int_equal(wsl_log_level_parse("loud", &level, NULL), WSL_EINVAL);
}

/* ---- text ---- */

/* By hand, as RFC 3629's table has it. */
static size_t encode(uint32_t code, uint8_t ret[4])
{
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; code >>= 6)
        ret[i] = (uint8_t)(0x80 | (code & 0x3f));
    ret[0] = (uint8_t)(code | (n == 1 ? 0 : 0xf00u >> n));
    return n;
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xc3",
                                      "\xe2\x82",
                                      "\xf0\x9f\x90",
                                      "\xc3("};
    uint32_t decoded;

    (void)state;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        uint8_t bytes[4];
        size_t n = encode(code, bytes);
        bool good = code < 0xd800 || code > 0xdfff;

        assert_int_equal(wsl_utf8_decode(bytes, n, &decoded), good ? n : 0);
        assert_true(!good || decoded == code);
        if (n > 1)
            assert_int_equal(wsl_utf8_length(bytes, n - 1), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(wsl_utf8_length(bad[i], 4), 0);
        assert_false(wsl_utf8_is_valid(bad[i], strlen(bad[i])));
    }
    assert_true(wsl_utf8_is_valid("K\xc3\xa4se \xe2\x82\xac \xf0\x9f\x90\xb6", 14));
    assert_false(wsl_utf8_is_valid("K\xc3\xa4se \xe2\x82\xac \xf0\x9f\x90\xb6", 13));
}

static void encodings_of_texts_are_told(void **state)
{
    static const struct {
        const char *bytes;
        size_t size, skip;
        const char *encoding;
    } cases[] = {
        {"", 0, 0, NULL},
        {"a", 1, 0, NULL},
        {"\xef\xbb", 2, 0, NULL},
        {"\xef\xbb\xbf", 3, 3, NULL},
        {"\xef\xbb\xbfx", 4, 3, NULL},
        {"\xff\xfe"
         "a",
         3, 0, "UTF-16"},
        {"\xfe\xff\0a", 4, 0, "UTF-16"},
        {"\xff\xfe\0\0", 4, 0, "UTF-32"},
        {"\0\0\xfe\xff", 4, 0, "UTF-32"},
        {"a\0b\0", 4, 0, "UTF-16"},
        {"\0a\0b", 4, 0, "UTF-16"},
        {"a\0\0\0", 4, 0, "UTF-32"},
        {"\0\0\0a", 4, 0, "UTF-32"},
        {"ab\0c", 4, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t skip = 9;
        const char *encoding = wsl_text_input_encoding(cases[i].bytes, cases[i].size, &skip);

        assert_int_equal(skip, cases[i].skip);
        assert_true(!encoding == !cases[i].encoding);
        if (encoding)
            assert_string_equal(encoding, cases[i].encoding);
    }
}

static void texts_are_read_line_by_line(void **state)
{
    char path[] = "/tmp/wsl-test-text-XXXXXX", text[] = "\xef\xbb\xbf"
                                                        "one\r\n\ntwo\r\n\r\nlast";
    static const char *const lines[] = {"one", "", "two", "", "last"};
    struct wsl_buf read = {0};
    struct wsl_err err = {0};
    char *rest, *line;
    size_t size, count = 0;
    int fd = mkstemp(path);

    (void)state;
    close(fd);
    assert_int_equal(wsl_file_write_atomic(path, text, sizeof text - 1, NULL), 0);
    assert_int_equal(wsl_text_input_read(path, 100, &read, NULL), 0);
    for (rest = (char *)read.data; (line = wsl_text_input_line(&rest, &size)); count++) {
        assert_string_equal(line, lines[count]);
        assert_int_equal(size, strlen(line));
    }
    assert_int_equal(count, 5);
    rest = NULL;
    assert_null(wsl_text_input_line(&rest, &size));
    assert_int_equal(wsl_file_write_atomic(path, "one\n\0two", 8, NULL), 0);
    wsl_buf_clear(&read);
    assert_int_equal(wsl_text_input_read(path, 100, &read, &err), WSL_ECORRUPT);
    assert_null(read.data);
    assert_non_null(strstr(err.text, "is not a text file: byte 4 is NUL"));
    assert_int_equal(wsl_file_write_atomic(path,
                                           "\xff\xfe"
                                           "a\0",
                                           4, NULL),
                     0);
    wsl_buf_clear(&read);
    assert_int_equal(wsl_text_input_read(path, 100, &read, &err), WSL_ECORRUPT);
    assert_null(read.data);
    assert_non_null(strstr(err.text, "is UTF-16; save it as UTF-8"));
    wsl_buf_free(&read);
    unlink(path);
}

static void numbers_that_are_none_have_a_word(void **state)
{
    char text[WSL_NUMBER_TEXT];

    (void)state;
    assert_string_equal(wsl_number_text(1.25, 3, text), "1.250");
    assert_string_equal(wsl_number_text(-0.5, 1, text), "-0.5");
    assert_string_equal(wsl_number_text(4.6e30, 2, text), "4.60e+30");
    assert_string_equal(wsl_number_text(NAN, 4, text), "not finite");
    assert_string_equal(wsl_number_text(-NAN, 4, text), "not finite");
    assert_string_equal(wsl_number_text(-INFINITY, 4, text), "not finite");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_text_is_cut_and_prefixed),
        cmocka_unit_test(buffer_keeps_its_limit),
        cmocka_unit_test(libraries_are_loaded_when_needed),
        cmocka_unit_test(crc_matches_the_published_vectors),
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(permutation_hits_everything_once),
        cmocka_unit_test(draws_are_uniform_enough),
        cmocka_unit_test(times_print_as_utc),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(options_are_parsed_and_refused),
        cmocka_unit_test(find_no_program),
        cmocka_unit_test(find_a_program_beside),
        cmocka_unit_test(options_may_be_given_many_times),
        cmocka_unit_test(wrong_options_name_the_right_ones),
        cmocka_unit_test(closed_descriptors_are_taken),
        cmocka_unit_test(mail_arrives_in_order),
        cmocka_unit_test(map_finds_all_entries_of_a_hash_newest_first),
        cmocka_unit_test(log_levels_have_words),
        cmocka_unit_test(numbers_that_are_none_have_a_word),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
        cmocka_unit_test(encodings_of_texts_are_told),
        cmocka_unit_test(texts_are_read_line_by_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
