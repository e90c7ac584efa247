/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures are not decoded here: any bytes do.
 */
#include "base/crc32c.h"
#include "base/file.h"
#include "base/rng.h"
#include "storage/dataset/dataset.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/record.h"
#include "storage/dataset/shard.h"
#include "tests/unit/checked_set.h"

#include <fcntl.h>
#include <lmdb.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { TAGS = 5, JPEG_MAX = 60000 };

struct fixture {
    char folder[64];
    uint8_t jpeg[JPEG_MAX];
};

/* ---- a data set to work on ---- */

/* Everything about record i follows from i, so that a reader can check it. */
static size_t jpeg_of(uint64_t i, uint8_t *jpeg)
{
    struct wsl_rng rng;
    size_t size;

    wsl_rng_start(&rng, 7, i);
    /* Some within a leaf page, most with pages of their own, one that fills its pages exactly. */
    size =
        i % 3 == 0 ? 100 + wsl_rng_below(&rng, 1800) : 2000 + wsl_rng_below(&rng, JPEG_MAX - 2000);
    for (size_t k = 0; k < size; k++)
        jpeg[k] = (uint8_t)(i * 31 + k * 7 + (k >> 8));
    return size;
}

static void add(struct wsl_shard_writer *w, uint64_t i, uint8_t *jpeg)
{
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    uint32_t tags[] = {(uint32_t)(i % 3), 3, 4};
    char source[64];
    struct wsl_err err;

    snprintf(source, sizeof source, "folder/picture %llu.jpg", (unsigned long long)i);
    record.jpeg.len = jpeg_of(i, jpeg);
    record.jpeg.data = jpeg;
    record.crc32c = wsl_crc32c(0, jpeg, record.jpeg.len);
    record.width = (uint32_t)(i % 1000 + 1);
    record.height = 300;
    record.tags = tags;
    record.n_tags = 1 + i % 3;
    record.source = source;
    record.pixel_hash = i * 0x9e3779b97f4a7c15ull;
    if (wsl_shard_writer_add(w, &record, &err) < 0)
        fail_msg("%s", err.text);
}

static void add_shard(struct fixture *f, struct wsl_split_info *split, const char *file,
                      uint64_t first, uint64_t count)
{
    struct wsl_shard_writer *w;
    struct wsl_err err;

    if (wsl_shard_writer_open(&w, f->folder, file, 1 << 20, &err) < 0)
        fail_msg("%s", err.text);
    for (uint64_t i = first; i < first + count; i++)
        add(w, i, f->jpeg);
    split->shards = realloc(split->shards, (split->shard_count + 1) * sizeof *split->shards);
    if (wsl_shard_writer_seal(w, &split->shards[split->shard_count++], &err) < 0)
        fail_msg("%s", err.text);
    wsl_shard_writer_close(w);
    split->images += count;
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct wsl_dataset_info info = {.kind = "tags"};
    json_t *source = json_pack("{ss}", "path", "made for a test");

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    info.name = strdup("trial");
    info.created = strdup("2018-05-02T10:11:12.345Z");
    info.tags = calloc(TAGS, sizeof *info.tags);
    info.tag_count = TAGS;
    for (int i = 0; i < TAGS; i++)
        info.tags[i] =
            (struct wsl_tag){strndup(&"abcde"[i], 1), strdup(i ? "" : "n02084071"), 10 - i, i};
    add_shard(f, &info.splits[WSL_SPLIT_TRAIN], "shard-00000.lmdb", 0, 700);
    add_shard(f, &info.splits[WSL_SPLIT_TRAIN], "shard-00001.lmdb", 700, 1);
    add_shard(f, &info.splits[WSL_SPLIT_TRAIN], "shard-00002.lmdb", 701, 40);
    add_shard(f, &info.splits[WSL_SPLIT_HELDOUT], "shard-00003.lmdb", 741, 30);
    assert_int_equal(wsl_dataset_info_save(&info, f->folder, source, NULL), 0);
    wsl_dataset_info_free(&info);
    json_decref(source);
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_file_remove_tree(f->folder, NULL);
    free(f);
    return 0;
}

static struct wsl_dataset *open_it(struct fixture *f)
{
    struct wsl_dataset *ds = NULL;
    struct wsl_err err;

    if (wsl_dataset_open(&ds, f->folder, &err) < 0)
        fail_msg("%s", err.text);
    return ds;
}

static void must_not_open(struct fixture *f, int code, const char *word)
{
    struct wsl_dataset *ds = NULL;
    struct wsl_err err = {0};

    assert_int_equal(wsl_dataset_open(&ds, f->folder, &err), code);
    assert_null(ds);
    if (!strstr(err.text, word))
        fail_msg("no \"%s\" in: %s", word, err.text);
}

static void path_of(struct fixture *f, const char *file, char path[128])
{
    snprintf(path, 128, "%s/%s", f->folder, file);
}

static void change_file(struct fixture *f, const char *file, long at, uint8_t flip)
{
    char path[128];
    uint8_t byte;
    int fd;

    path_of(f, file, path);
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Writes dataset.json with the first `from` replaced by `to`. */
static void edit_json(struct fixture *f, const char *from, const char *to)
{
    struct wsl_buf old = {0}, text = {0};
    char path[128];
    char *at;

    path_of(f, "dataset.json", path);
    assert_int_equal(wsl_file_read(path, 1 << 20, &old, NULL), 0);
    at = strstr((char *)old.data, from);
    if (!at)
        fail_msg("dataset.json has no %s", from);
    wsl_buf_add(&text, old.data, (size_t)(at - (char *)old.data));
    wsl_buf_add_text(&text, to);
    wsl_buf_add_text(&text, at + strlen(from));
    assert_int_equal(wsl_file_write_atomic(path, text.data, text.size, NULL), 0);
    wsl_buf_free(&old);
    wsl_buf_free(&text);
}

/* ---- the good case ---- */

static void check_record(struct wsl_dataset *ds, enum wsl_split split, uint64_t index, uint64_t i,
                         uint8_t *jpeg)
{
    struct wsl_record record;
    uint32_t tags[64];
    char source[64];
    int count = 0;

    assert_int_equal(wsl_dataset_read(ds, split, index, &record, NULL), 0);
    assert_int_equal(record.jpeg_size, jpeg_of(i, jpeg));
    assert_memory_equal(record.jpeg, jpeg, record.jpeg_size);
    assert_int_equal(record.width, i % 1000 + 1);
    assert_int_equal(record.height, 300);
    assert_int_equal(record.pixel_hash, i * 0x9e3779b97f4a7c15ull);
    assert_int_equal(record.tag_count, 1 + i % 3);
    assert_int_equal(record.tags[0], i % 3);
    snprintf(source, sizeof source, "folder/picture %llu.jpg", (unsigned long long)i);
    assert_string_equal(record.source, source);
    assert_int_equal(wsl_record_check(&record, NULL), 0);
    memset(jpeg, 0, record.jpeg_size);
    assert_int_equal(wsl_record_copy(&record, jpeg, NULL), 0);
    assert_memory_equal(record.jpeg, jpeg, record.jpeg_size);
    assert_int_equal(wsl_dataset_read_tags(ds, split, index, tags, &count, NULL), 0);
    assert_int_equal(count, record.tag_count);
    assert_memory_equal(tags, record.tags, (size_t)count * sizeof *tags);
}

static void told(void *context, uint64_t done, uint64_t total)
{
    *(uint64_t *)context = done;
    assert_int_equal(total, 771);
}

static void what_is_written_is_read(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds = open_it(f);
    struct wsl_record record;
    uint64_t done = 0;
    const struct wsl_verify_setup setup = {.progress = told, .context = &done};
    struct wsl_verify_result result;
    struct wsl_err err;

    assert_string_equal(wsl_dataset_name(ds), "trial");
    assert_string_equal(wsl_dataset_kind(ds), "tags");
    assert_int_equal(strlen(wsl_dataset_fingerprint(ds)), 32);
    assert_int_equal(wsl_dataset_count(ds, WSL_SPLIT_TRAIN), 741);
    assert_int_equal(wsl_dataset_count(ds, WSL_SPLIT_HELDOUT), 30);
    assert_int_equal(wsl_dataset_shard_count(ds, WSL_SPLIT_TRAIN), 3);
    assert_int_equal(wsl_dataset_tag_count(ds), TAGS);
    assert_string_equal(wsl_dataset_tag(ds, 0)->synset, "n02084071");
    assert_int_equal(wsl_dataset_tag(ds, 4)->heldout, 4);
    for (uint64_t i = 0; i < 741; i++)
        check_record(ds, WSL_SPLIT_TRAIN, i, i, f->jpeg);
    for (uint64_t i = 0; i < 30; i++)
        check_record(ds, WSL_SPLIT_HELDOUT, i, 741 + i, f->jpeg);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 741, &record, &err), WSL_EINVAL);
    wsl_dataset_close(ds);
    assert_int_equal(wsl_dataset_verify_all(f->folder, &setup, &result, NULL), 0);
    assert_int_equal(result.records, 771);
    assert_int_equal(result.bad, 0);
    assert_int_equal(done, 771);
    wsl_dataset_close(NULL);
}

/* LMDB's own reader is the oracle of ours. */
static void lmdb_finds_the_same_values(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset_info info;
    struct wsl_shard *shard;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    char path[128];

    assert_int_equal(wsl_dataset_info_load(&info, f->folder, NULL), 0);
    assert_int_equal(wsl_shard_open(&shard, f->folder, &info.splits[0].shards[0], NULL), 0);
    path_of(f, "shard-00000.lmdb", path);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0),
                     0);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    for (uint64_t i = 0; i < 700; i++) {
        uint8_t number[8] = {0, 0, 0, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
        MDB_val key = {8, number}, value;
        const uint8_t *mine;
        size_t size;

        assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
        mine = wsl_shard_value(shard, i, &size);
        assert_int_equal(size, value.mv_size);
        assert_memory_equal(mine, value.mv_data, size);
    }
    mdb_txn_abort(txn);
    mdb_env_close(env);
    wsl_shard_close(shard);
    wsl_dataset_info_free(&info);
}

static void reading_does_not_allocate(void **state)
{
    struct wsl_dataset *ds = open_it(*state);
    struct wsl_record record;
    uint32_t tags[64];
    size_t before;
    int count;

    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 0, &record, NULL), 0);
    before = mallinfo2().uordblks;
    for (uint64_t i = 0; i < 741; i++) {
        wsl_dataset_read(ds, WSL_SPLIT_TRAIN, i, &record, NULL);
        wsl_record_check(&record, NULL);
        wsl_dataset_read_tags(ds, WSL_SPLIT_TRAIN, i, tags, &count, NULL);
    }
    assert_int_equal(mallinfo2().uordblks, before);
    wsl_dataset_close(ds);
}

static void *read_all(void *context)
{
    struct wsl_dataset *ds = context;
    struct wsl_record record;
    intptr_t good = 0;

    for (uint64_t i = 0; i < 741; i++)
        good += wsl_dataset_read(ds, WSL_SPLIT_TRAIN, i, &record, NULL) == 0 &&
                wsl_record_check(&record, NULL) == 0;
    return (void *)good;
}

static void many_threads_read(void **state)
{
    struct wsl_dataset *ds = open_it(*state);
    pthread_t threads[4];
    void *good;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, ds), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &good);
        assert_int_equal((intptr_t)good, 741);
    }
    wsl_dataset_close(ds);
}

/* ---- bad input ---- */

static void rubbish_in_dataset_json(void **state)
{
    static const struct {
        const char *from, *to, *word;
        int code;
    } cases[] = {
        {"{", "rubbish", "not JSON", WSL_ECORRUPT},
        {"\"format\": 1", "\"format\": 4", "format 4", WSL_EUNSUPPORTED},
        {"\"format\": 1", "\"format\": 0", "format 0", WSL_EUNSUPPORTED},
        {"\"format\": 1", "\"format\": 3", "pictures", WSL_ECORRUPT},
        {"\"format\": 1", "\"format\": 2", "base", WSL_ECORRUPT},
        {"\"format\": 1", "\"format\": \"1\"", "format", WSL_ECORRUPT},
        {"\"format\"", "\"formal\"", "format", WSL_ECORRUPT},
        {"\"name\": \"trial\"", "\"name\": 7", "name", WSL_ECORRUPT},
        {"\"kind\": \"tags\"", "\"kind\": \"both\"", "kind", WSL_ECORRUPT},
        {"\"fingerprint\": \"", "\"fingerprint\": \"xyz", "fingerprint", WSL_ECORRUPT},
        {"\"tags\": [", "\"tags\": 3, \"none\": [", "tags", WSL_ECORRUPT},
        {"\"train\": 10", "\"train\": -10", "tags[0]", WSL_ECORRUPT},
        {"\"train\": 9", "\"train\": 9.5", "tags[1]", WSL_ECORRUPT},
        {"\"name\": \"b\"", "\"name\": \"B\"", "was edited", WSL_ECORRUPT},
        {"\"splits\"", "\"slits\"", "splits.train", WSL_ECORRUPT},
        {"\"images\": 741", "\"images\": 742", "add up", WSL_ECORRUPT},
        {"\"shard-00000.lmdb\"", "\"../shard-00000.lmdb\"", "shards[0]", WSL_ECORRUPT},
        {"\"shard-00001.lmdb\"", "\"\"", "shards[1]", WSL_ECORRUPT},
        {"\"images\": 700", "\"images\": 18446744073709551615", "", WSL_ECORRUPT},
        {"\"images\": 700", "\"images\": 9223372036854775807", "impossible", WSL_ECORRUPT},
        {"\"source\"", "\"name\": \"twice\", \"source\"", "not JSON", WSL_ECORRUPT},
    };
    struct fixture *f = *state;
    struct wsl_buf good = {0};
    char path[128];

    path_of(f, "dataset.json", path);
    assert_int_equal(wsl_file_read(path, 1 << 20, &good, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit_json(f, cases[i].from, cases[i].to);
        must_not_open(f, cases[i].code, cases[i].word);
        must_not_open(f, cases[i].code,
                      strcmp(cases[i].word, "was edited") == 0 ? "fingerprint" : "dataset.json");
        assert_int_equal(wsl_file_write_atomic(path, good.data, good.size, NULL), 0);
    }
    for (size_t size = 0; size < good.size - 1; size += 97) { /* cut anywhere */
        assert_int_equal(wsl_file_write_atomic(path, good.data, size, NULL), 0);
        must_not_open(f, WSL_ECORRUPT, "dataset.json");
    }
    assert_int_equal(remove(path), 0);
    must_not_open(f, WSL_ENOENT, "is not a data set");
    wsl_buf_free(&good);
}

static void wrong_fingerprint_of_a_shard(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset_info info;
    char other[33];

    assert_int_equal(wsl_dataset_info_load(&info, f->folder, NULL), 0);
    strcpy(other, info.splits[0].shards[1].fingerprint);
    other[5] = other[5] == 'a' ? 'b' : 'a';
    edit_json(f, info.splits[0].shards[1].fingerprint, other);
    must_not_open(f, WSL_ECORRUPT, "fingerprint");
    wsl_dataset_info_free(&info);
}

static void missing_cut_and_miscounted_shards(void **state)
{
    struct fixture *f = *state;
    char path[128], away[128];
    struct stat st;

    path_of(f, "shard-00002.lmdb", path);
    path_of(f, "away", away);
    assert_int_equal(rename(path, away), 0);
    must_not_open(f, WSL_ENOENT, "shard-00002.lmdb is missing");
    assert_int_equal(mkdir(path, 0755), 0);
    must_not_open(f, WSL_ECORRUPT, "shard-00002.lmdb");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(away, path), 0);

    assert_int_equal(stat(path, &st), 0);
    for (off_t cut = 0; cut < st.st_size; cut = cut * 3 + 1) {
        assert_int_equal(truncate(path, cut), 0);
        must_not_open(f, WSL_ECORRUPT, "it was cut or changed");
    }
    assert_int_equal(clear(state), 0);
    make(state);
    f = *state;
    /* Too many and too few records, with sums that fit. */
    edit_json(f, "\"images\": 700", "\"images\": 699");
    edit_json(f, "\"images\": 40", "\"images\": 41");
    must_not_open(f, WSL_ECORRUPT, "shard-00000.lmdb");
    edit_json(f, "\"images\": 699", "\"images\": 701");
    edit_json(f, "\"images\": 41", "\"images\": 39");
    must_not_open(f, WSL_ECORRUPT, "701");
    edit_json(f, "\"images\": 701", "\"images\": 1099511627776");
    edit_json(f, "\"images\": 741", "\"images\": 1099511627816");
    must_not_open(f, WSL_ECORRUPT, "cannot hold");
}

/* Where the value of a record lies in its file. */
static long offset_of(struct fixture *f, size_t shard_number, uint64_t index, size_t *ret_size)
{
    struct wsl_dataset_info info;
    struct wsl_shard *shard;
    const uint8_t *base;
    struct wsl_buf file = {0};
    char path[128];
    long at = -1;

    assert_int_equal(wsl_dataset_info_load(&info, f->folder, NULL), 0);
    assert_int_equal(wsl_shard_open(&shard, f->folder, &info.splits[0].shards[shard_number], NULL),
                     0);
    base = wsl_shard_value(shard, index, ret_size);
    path_of(f, info.splits[0].shards[shard_number].file, path);
    assert_int_equal(wsl_file_read(path, 1 << 30, &file, NULL), 0);
    at = (uint8_t *)memmem(file.data, file.size, base, *ret_size) - file.data;
    wsl_buf_free(&file);
    wsl_shard_close(shard);
    wsl_dataset_info_free(&info);
    return at;
}

static void a_changed_picture_is_found(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;
    struct checked_set set;
    struct wsl_err err;
    size_t size;
    long at = offset_of(f, 2, 7, &size);

    change_file(f, "shard-00002.lmdb", at + (long)size - 1, 0x10); /* the picture's last byte */
    ds = open_it(f);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 708, &record, NULL), 0);
    assert_int_equal(wsl_record_check(&record, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "picture 708.jpg"));
    assert_int_equal(wsl_record_copy(&record, f->jpeg, NULL), WSL_ECORRUPT);
    set = check_set(f->folder);
    assert_int_equal(set.bad, 1);
    assert_non_null(strstr(set.first, "shard-00002.lmdb, record 7: its image has CRC"));
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 709, &record, NULL), 0);
    assert_int_equal(wsl_record_check(&record, NULL), 0);
    wsl_dataset_close(ds);
}

static void a_changed_record_is_found(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;
    struct wsl_err err;
    size_t size;
    long at = offset_of(f, 0, 1, &size);
    struct wsl_buf file = {0};
    struct checked_set set;
    char path[128];
    long name;

    /* The source's text is not in the CRC, but in the shard's fingerprint. */
    path_of(f, "shard-00000.lmdb", path);
    assert_int_equal(wsl_file_read(path, 1 << 30, &file, NULL), 0);
    name = (uint8_t *)memmem(file.data + at, size, "folder", 6) - file.data;
    wsl_buf_free(&file);
    change_file(f, "shard-00000.lmdb", name, 0x01);
    set = check_set(f->folder);
    assert_int_equal(set.bad, 1);
    assert_non_null(strstr(set.first, "shard-00000.lmdb: its images are whole, but"));
    /* A record that is no record: named by shard and index. */
    change_file(f, "shard-00000.lmdb", at, 0x07);
    ds = open_it(f);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 1, &record, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "shard-00000.lmdb, record 1:"));
    wsl_dataset_close(ds);
}

/* Pages of the tree: each starts with its number and says its kind. */
static int find_tree(const struct wsl_buf *file, size_t pages[64])
{
    int n = 0;

    for (size_t at = 0; at + 4096 <= file->size && n < 64; at += 4096) {
        uint64_t number;
        uint16_t kind;

        memcpy(&number, file->data + at, sizeof number);
        memcpy(&kind, file->data + at + 10, sizeof kind);
        if (number == at / 4096 && (kind == 1 || kind == 2 || kind == 8))
            pages[n++] = at;
    }
    return n;
}

/* Returns whether the shard was refused. */
static int read_damaged(struct fixture *f, const struct wsl_shard_entry *entry)
{
    struct wsl_record record;
    struct wsl_shard *shard;

    if (wsl_shard_open(&shard, f->folder, entry, NULL) < 0)
        return 1;
    for (uint64_t i = 0; i < entry->images; i++) {
        size_t size;
        const uint8_t *value = wsl_shard_value(shard, i, &size);

        if (!wsl_record_parse(value, size, TAGS, &record) && i % 16 == 0)
            wsl_record_check(&record, NULL);
    }
    wsl_shard_close(shard);
    return 0;
}

/* Any byte may be wrong: an error, or records, but no crash and no endless walk. */
static void any_damage_is_survived(void **state)
{
    struct fixture *f = *state;
    struct wsl_split_info split = {0};
    struct wsl_buf good = {0};
    int refused = 0, tree, fd;
    struct wsl_rng rng;
    size_t pages[64], changed[4];
    char path[128];

    add_shard(f, &split, "damaged.lmdb", 0, 300); /* a branch page and three leaves at the least */
    path_of(f, "damaged.lmdb", path);
    assert_int_equal(wsl_file_read(path, 1 << 30, &good, NULL), 0);
    tree = find_tree(&good, pages);
    assert_in_range(tree, 6, 64);
    fd = open(path, O_RDWR);
    wsl_rng_start(&rng, 42, 0);
    for (int round = 0; round < 500; round++) {
        uint64_t flips = 1 + wsl_rng_below(&rng, 4);

        for (uint64_t k = 0; k < flips; k++) {
            uint8_t byte = (uint8_t)wsl_rng_u32(&rng);

            changed[k] = pages[wsl_rng_below(&rng, (uint64_t)tree)] +
                         wsl_rng_below(&rng, wsl_rng_below(&rng, 2) ? 160 : 4096);
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)changed[k]), 1);
        }
        refused += read_damaged(f, &split.shards[0]);
        for (uint64_t k = 0; k < flips; k++)
            assert_int_equal(pwrite(fd, good.data + changed[k], 1, (off_t)changed[k]), 1);
    }
    assert_int_equal(read_damaged(f, &split.shards[0]), 0); /* all is put back */
    assert_in_range(refused, 50, 450);                      /* seed 42: both ways were taken */
    close(fd);
    free(split.shards);
    wsl_buf_free(&good);
}

static void any_bytes_are_parsed(void **state)
{
    struct wsl_record record;
    struct wsl_rng rng;
    uint32_t tags[64];
    uint8_t bytes[64];
    int count, good = 0;

    (void)state;
    wsl_rng_start(&rng, 43, 0);
    for (int round = 0; round < 100000; round++) {
        size_t size = wsl_rng_below(&rng, sizeof bytes);
        uint8_t *exact = malloc(size + 1); /* so that a sanitizer sees a step too far */

        for (size_t i = 0; i < size; i++) /* keys of the message's own fields, often */
            bytes[i] = wsl_rng_below(&rng, 2)
                           ? "\x0d\x10\x18\x20\x22\x2a\x31\x7a"[wsl_rng_below(&rng, 8)]
                           : (uint8_t)wsl_rng_below(&rng, 12);
        memcpy(exact, bytes, size);
        good += wsl_record_parse(exact, size, TAGS, &record) == NULL;
        wsl_record_parse_tags(exact, size, TAGS, tags, &count);
        assert_in_range(count, 0, 64);
        assert_in_range(record.tag_count, 0, 64);
        assert_in_range(strlen(record.source), 0, 255);
        free(exact);
    }
    assert_true(good > 0);
}

static void faults_of_a_record_have_names(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *word; /* NULL: good */
    } cases[] = {
        {"\x10\x05\x18\x06\x7a\x01x", 7, NULL},
        {"\x10\x05\x18\x06\x22\x02\x01\x04\x7a\x01x", 11, NULL},
        {"\x10\x05\x18\x06\x20\x01\x20\x04\x7a\x01x", 11, NULL}, /* tags that are not packed */
        {"\x10\x05\x18\x06\x9a\x06\x01y\x7a\x01x", 11, NULL},    /* a field of a later version */
        {"\x10\x05\x18\x06\x7a\x02x", 7, "not a packed"},
        {"\x10\x05\x18\x06", 4, "no image"},
        {"\x7a\x01x", 3, "no size"},
        {"\x10\x00\x18\x06\x7a\x01x", 7, "width"},
        {"\x10\x05\x18\x80\x80\x04\x7a\x01x", 9, "height"},
        {"\x10\x05\x18\x06\x22\x01\x05\x7a\x01x", 10, "vocabulary"},
        {"\x10\x05\x18\x06\x22\x02\x04\x04\x7a\x01x", 11, "order"},
        {"\x10\x05\x18\x06\x22\x02\x04\x80\x7a\x01x", 11, "not a packed"},
        {"\x13", 1, "not a packed"},
        {"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "not a packed"},
        {"", 0, "no image"},
    };
    uint8_t many[80] = {0x10, 5, 0x18, 6, 0x7a, 1, 'x', 0x22, 65};
    struct wsl_record record;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *fault =
            wsl_record_parse((const uint8_t *)cases[i].bytes, cases[i].size, TAGS, &record);

        if (!cases[i].word ? fault != NULL : !fault || !strstr(fault, cases[i].word))
            fail_msg("case %zu: %s", i, fault ? fault : "no fault");
    }
    for (int i = 0; i < 65; i++)
        many[9 + i] = (uint8_t)i;
    assert_string_equal(wsl_record_parse(many, 74, 1000, &record), "too many tags");
    many[8] = 64;
    assert_null(wsl_record_parse(many, 73, 1000, &record));
    assert_int_equal(record.tag_count, 64);
}

static void a_shard_that_shrinks_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds = open_it(f);
    struct wsl_record record, later;
    struct checked_set set;
    struct wsl_err err;
    uint32_t tags[64];
    char path[128];
    int count;

    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 740, &record, NULL), 0);
    path_of(f, "shard-00002.lmdb", path);
    assert_int_equal(truncate(path, 8192), 0);
    assert_int_equal(wsl_record_check(&record, &err), WSL_EIO);
    assert_non_null(strstr(err.text, "shrank"));
    assert_int_equal(wsl_record_copy(&record, f->jpeg, NULL), WSL_EIO);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 740, &later, &err), WSL_EIO);
    assert_non_null(strstr(err.text, "shard-00002.lmdb shrank"));
    assert_int_equal(wsl_dataset_read_tags(ds, WSL_SPLIT_TRAIN, 740, tags, &count, NULL), WSL_EIO);
    set = check_set(f->folder);
    assert_int_equal(set.bad, 1);
    assert_non_null(strstr(set.first, "shard-00002.lmdb: "));
    check_record(ds, WSL_SPLIT_TRAIN, 3, 3, f->jpeg); /* the others are as before */
    wsl_dataset_close(ds);
}

static void a_full_disk_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, small = {2 << 20, 2 << 20};
    struct wsl_shard_writer *w;
    struct wsl_shard_entry entry;
    struct wsl_err err = {0};
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    int r = 0;

    assert_int_equal(wsl_shard_writer_open(&w, f->folder, "shard-00000.lmdb", 1 << 20, &err),
                     WSL_EEXIST);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(wsl_shard_writer_open(&w, f->folder, "new.lmdb", 1 << 30, &err), 0);
    record.jpeg.data = f->jpeg;
    record.jpeg.len = sizeof f->jpeg;
    for (int i = 0; r == 0 && i < 1000; i++)
        r = wsl_shard_writer_add(w, &record, &err);
    if (r == 0)
        r = wsl_shard_writer_seal(w, &entry, &err);
    wsl_shard_writer_close(w);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(r, WSL_ENOSPC);
    assert_non_null(strstr(err.text, "new.lmdb"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(what_is_written_is_read),           CASE(lmdb_finds_the_same_values),
        CASE(reading_does_not_allocate),         CASE(many_threads_read),
        CASE(rubbish_in_dataset_json),           CASE(wrong_fingerprint_of_a_shard),
        CASE(missing_cut_and_miscounted_shards), CASE(a_changed_picture_is_found),
        CASE(a_changed_record_is_found),         CASE(any_damage_is_survived),
        cmocka_unit_test(any_bytes_are_parsed),  cmocka_unit_test(faults_of_a_record_have_names),
        CASE(a_shard_that_shrinks_is_an_error),  CASE(a_full_disk_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
