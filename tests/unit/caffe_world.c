/* SPDX-License-Identifier: Apache-2.0 */
#include "caffe_world.h"

#include "base/file.h"

#include <string.h>

void add_varint(struct wsl_buf *b, uint64_t value)
{
    uint8_t byte;

    do {
        byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        wsl_buf_add(b, &byte, 1);
        value >>= 7;
    } while (value);
}

void add_number(struct wsl_buf *b, int field, uint64_t value)
{
    add_varint(b, (uint64_t)field << 3);
    add_varint(b, value);
}

void add_bytes(struct wsl_buf *b, int field, const void *bytes, size_t size)
{
    add_varint(b, (uint64_t)field << 3 | 2);
    add_varint(b, size);
    wsl_buf_add(b, bytes, size);
}

MDB_env *open_lmdb(const struct fixture *f, const char *folder, MDB_txn **txn, MDB_dbi *dbi)
{
    MDB_env *env;

    assert_int_equal(wsl_file_make_directories(path_in(f, folder), NULL), 0);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path_in(f, folder), MDB_NOSYNC, 0644), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, txn), 0);
    assert_int_equal(mdb_dbi_open(*txn, NULL, 0, dbi), 0);
    return env;
}

void put_value(MDB_txn *txn, MDB_dbi dbi, const char *key, const struct wsl_buf *value)
{
    MDB_val k = {strlen(key), (void *)key}, v = {value->size, value->data};

    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}
