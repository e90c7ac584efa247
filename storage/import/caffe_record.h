/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies in the values of Caffe's and Caffe2's LMDBs: found by its place, without reading the
 * image. Any bytes are taken. Internal to the import.
 */
#ifndef WSL_STORAGE_IMPORT_CAFFE_RECORD_H
#define WSL_STORAGE_IMPORT_CAFFE_RECORD_H

#include "storage/import/source.h"

enum { CAFFE_LABELS = 64 };

struct caffe_record {
    uint64_t offset, size; /* of the image in the file; size 0: none */
    enum source_form form;
    uint32_t width, height; /* of one without a format of its own */
    int64_t labels[CAFFE_LABELS];
    int label_count; /* of more the rest is left out */
};

/* Parses the Datum or TensorProtos at offset .. offset + size of `fd`. Returns NULL, or what is
 * wrong (a static text). Blocks on the file. */
const char *wsl_caffe_record_parse(int fd, uint64_t offset, uint64_t size,
                                   struct caffe_record *ret);

#endif
