/* SPDX-License-Identifier: Apache-2.0
 *
 * LMDBs as Caffe and Caffe2 write them, for tests of imports.
 */
#ifndef WSL_TESTS_UNIT_CAFFE_WORLD_H
#define WSL_TESTS_UNIT_CAFFE_WORLD_H

#include "import_world.h"

#include <lmdb.h>

/* Protobuf, field by field. */
void add_varint(struct wsl_buf *b, uint64_t value);
void add_number(struct wsl_buf *b, int field, uint64_t value);
void add_bytes(struct wsl_buf *b, int field, const void *bytes, size_t size);

/* A new LMDB in f's folder, with a transaction under way; commit it and close the environment. */
MDB_env *open_lmdb(const struct fixture *f, const char *folder, MDB_txn **txn, MDB_dbi *dbi);
void put_value(MDB_txn *txn, MDB_dbi dbi, const char *key, const struct wsl_buf *value);

#endif
